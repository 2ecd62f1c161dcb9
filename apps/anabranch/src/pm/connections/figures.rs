//! How subflows do.

use anabranch_kernel::mptcp::sockets;
use anabranch_paths::{Event, Quality};

use super::{Connections, ends_now};

impl Connections {
    /// How subflows do, for the policies that go by it.
    pub(super) fn look_at_figures(&mut self) -> Result<(), String> {
        let now = self.now();
        let connections = sockets::connections().map_err(|error| error.to_string())?;
        for connection in connections {
            let event = Event::Carried(connection.bytes);
            self.manager.on_event(now, connection.token, event);
        }
        let subflows = sockets::subflows().map_err(|error| error.to_string())?;
        for subflow in subflows {
            let figures = subflow.figures;
            let quality = Quality {
                srtt: Some(figures.srtt).filter(|srtt| !srtt.is_zero()),
                rto: Some(figures.rto),
                heard: now.checked_sub(figures.silent_for),
                stale: figures.timeouts > 1,
            };
            let ends = ends_now(&subflow);
            let event = Event::Quality { ends, quality };
            self.manager.on_event(now, subflow.token, event);
        }
        Ok(())
    }
}
