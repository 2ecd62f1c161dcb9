//! What an application sets for one connection while it lasts.

use crate::error::OptionError;
use crate::flow::Flow;
use crate::id::FlowId;
use crate::stack::Stack;
use anabranch_tcp::{Instant, SocketOption};

impl Stack {
    /// Sets an option of a connection; it holds from now on. Of Multipath TCP, `NoDelay` alone.
    ///
    /// # Errors
    /// See [`OptionError`].
    pub fn set_option(
        &mut self,
        now: Instant,
        id: FlowId,
        option: &SocketOption,
    ) -> Result<(), OptionError> {
        let slot = self.owned(id).ok_or(OptionError::NoSuchFlow)?;
        match (&mut slot.flow, option) {
            (Flow::Tcp(plain), _) => {
                let set = plain.stream.set_option(now, option);
                set.map_err(|_| OptionError::OutOfRange)?;
            }
            (Flow::Mptcp(multi), SocketOption::NoDelay(on)) => multi.connection.set_nodelay(*on),
            (Flow::Mptcp(_), _) => return Err(OptionError::Unsupported),
        }
        self.touched(now, id.into());
        Ok(())
    }

    /// What was sent so far ends a record: no segment of plain TCP holds bytes of it and of what
    /// is sent next.
    pub fn end_record(&mut self, id: FlowId) {
        if let Some(Flow::Tcp(plain)) = self.owned(id).map(|slot| &mut slot.flow) {
            plain.stream.end_record();
        }
    }
}
