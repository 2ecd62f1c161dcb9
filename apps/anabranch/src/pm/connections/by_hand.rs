//! Subflows that people open and close past the policy.

use anabranch_kernel::mptcp::LocalEnd;
use anabranch_paths::{Ends, Event, Token};

use super::Connections;
use crate::control::{Answer, Request};

impl Connections {
    /// Does with a subflow what somebody asks for, past the policy.
    ///
    /// # Errors
    /// One line.
    pub(in crate::pm) fn by_hand(&mut self, request: &Request) -> Result<Vec<Answer>, String> {
        let (name, local, remote) = match request {
            Request::SubflowAdd {
                connection,
                local,
                remote,
                ..
            }
            | Request::SubflowRemove {
                connection,
                local,
                remote,
            }
            | Request::SubflowPrio {
                connection,
                local,
                remote,
                ..
            } => (connection, *local, *remote),
            _ => return Err("this is not about paths".to_owned()),
        };
        let token = Token::from_str_radix(name.trim_start_matches("0x"), 16).ok();
        let known = token.filter(|token| self.manager.connection(*token).is_some());
        let token = known.ok_or_else(|| {
            format!("no managed connection has the token {name:?}: see ss -M, anabranch monitor")
        })?;
        let ends = Ends { local, remote };
        if let Request::SubflowAdd { backup, .. } = request {
            self.leave_alone(token, ends, false);
            // The policy may have wanted it all along.
            let known = self.manager.connection(token).map(|it| it.subflows());
            let mut known = known.into_iter().flatten();
            let is_it = |it: &Ends| it.local.ip() == ends.local.ip() && it.remote == ends.remote;
            if local.port() == 0 && known.any(|it| is_it(&it.ends)) {
                return Ok(Vec::new());
            }
            return self.open_by_hand(token, ends, *backup).map(|()| Vec::new());
        }
        match request {
            Request::SubflowPrio { backup, .. } => {
                self.kernel.set_backup(token, local, remote, *backup)
            }
            _ => self.kernel.destroy_subflow(token, local, remote),
        }
        .map_err(|error| error.to_string())?;
        if let Request::SubflowRemove { .. } = request {
            self.leave_alone(token, ends, true);
        }
        Ok(Vec::new())
    }

    /// Has the policy leave a pair of addresses alone, or no more.
    fn leave_alone(&mut self, token: Token, ends: Ends, off: bool) {
        self.manager
            .on_event(self.now(), token, Event::Hands { ends, off });
        self.act();
    }

    fn open_by_hand(&self, token: Token, ends: Ends, backup: bool) -> Result<(), String> {
        let sources = self.manager.connection(token).map(|it| it.sources());
        let mut sources = sources.into_iter().flatten();
        let ip = ends.local.ip();
        let from = sources.find(|it| it.addr.ip() == ip);
        let from = from.ok_or_else(|| format!("{ip}: no address that this connection may use"))?;
        let local = LocalEnd {
            address: ends.local,
            id: self.id_of(token, &from),
            backup,
            link: from.link,
        };
        let opened = self.kernel.create_subflow(token, &local, ends.remote);
        opened.map_err(|error| error.to_string())
    }
}
