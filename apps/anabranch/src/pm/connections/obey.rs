//! What the policy says, done by the kernel.

use std::net::SocketAddr;

use anabranch_kernel::mptcp::{Endpoint, Flags, LocalEnd};
use anabranch_paths::{Command, Ends, Event, Loss, Source, Token};

use super::Connections;

impl Connections {
    pub(super) fn obey(&mut self, token: Token, command: Command) {
        let done = match command {
            Command::Announce { id, addr, port } => {
                let listens = port.map(|port| SocketAddr::new(addr, port));
                if let Some(at) = listens {
                    self.listeners.listen(token, id, at);
                }
                let endpoint = Endpoint {
                    id,
                    port: port.unwrap_or(0),
                    ..Endpoint::new(addr, Flags::SIGNAL)
                };
                self.kernel.announce(token, &endpoint)
            }
            Command::Remove { id } => {
                self.listeners.close(token, id);
                self.kernel.withdraw(token, id)
            }
            Command::Create {
                from, to, backup, ..
            } => return self.create(token, from, to, backup),
            Command::Destroy { ends, .. } => {
                self.kernel.destroy_subflow(token, ends.local, ends.remote)
            }
            Command::SetPriority { ends, backup } => {
                self.kernel
                    .set_backup(token, ends.local, ends.remote, backup)
            }
            Command::Probe { ends } => self.probe(token, ends),
            // The kernel has none for connections managed from here.
            Command::SetLimits { .. } => Ok(()),
        };
        if let Err(error) = done {
            // Mostly a connection or subflow that ended meanwhile.
            tracing::debug!("{error}");
        }
    }

    fn create(&mut self, token: Token, from: Source, to: SocketAddr, backup: bool) {
        let local = LocalEnd {
            address: from.addr,
            id: self.id_of(token, &from),
            backup,
            link: from.link,
        };
        let Err(error) = self.kernel.create_subflow(token, &local, to) else {
            return;
        };
        tracing::debug!("{error}");
        let ends = Ends {
            local: from.addr,
            remote: to,
        };
        // EINVAL: the kernel would say the same again.
        let loss = match error.errno() {
            Some(errno) if errno == nix::errno::Errno::EINVAL as i32 => Loss::Lasting,
            _ => Loss::Passing,
        };
        self.manager
            .on_event(self.now(), token, Event::Refused { ends, loss });
    }
}
