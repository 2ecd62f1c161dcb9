//! What the kernel tells of connections, in the words of the policy.

use std::net::SocketAddr;

use anabranch_kernel::mptcp::{Event as Told, SubflowEvent, sockets};
use anabranch_kernel::process;
use anabranch_paths::{Event, Facts, Loss, Side, State, Token};

use super::{Connections, ends};

impl Connections {
    /// The kernel told something.
    ///
    /// # Errors
    /// One line: what was lost cannot be asked anew.
    pub(in crate::pm) fn on_event(&mut self, told: Told) -> Result<(), String> {
        let now = self.now();
        match told {
            // Who has its socket is not to be found out yet; nothing is decided before it is
            // established.
            Told::Created { .. } if self.asks_for_owner() => {}
            Told::Created {
                token,
                local,
                remote,
                passive,
                ..
            } => self.begin(token, local, remote, passive),
            Told::Established {
                token,
                local,
                remote,
                passive,
                denies_join,
            } => {
                if self.manager.connection(token).is_none() {
                    self.begin(token, local, remote, passive);
                }
                let deny_join = denies_join;
                self.manager
                    .on_event(now, token, Event::Established { deny_join });
            }
            Told::Closed { token } => {
                self.listeners.forget(token);
                self.probes.forget(token);
                self.manager.on_event(now, token, Event::Closed);
            }
            Told::Announced { token, id, remote } => {
                let (addr, port) = (remote.ip(), Some(remote.port()).filter(|port| *port != 0));
                let event = Event::Announced { id, addr, port };
                self.manager.on_event(now, token, event);
            }
            Told::Removed { token, id } => {
                self.manager.on_event(now, token, Event::Removed { id });
            }
            Told::SubflowEstablished(subflow) => self.subflow_up(&subflow),
            Told::SubflowClosed(subflow) => {
                let (ends, loss) = (ends(&subflow), loss(&subflow));
                self.probes.ended(subflow.token, &ends);
                let event = Event::SubflowDown { ends, loss };
                self.manager.on_event(now, subflow.token, event);
            }
            Told::SubflowPriority(subflow) => {
                let (ends, backup) = (ends(&subflow), subflow.backup);
                let event = Event::PeerPriority { ends, backup };
                self.manager.on_event(now, subflow.token, event);
            }
            Told::ListenerCreated { .. } | Told::ListenerClosed { .. } => {}
            Told::Lost => {
                tracing::warn!("the kernel told more than could be read: asking what there is");
                self.resync()?;
            }
        }
        self.act();
        Ok(())
    }

    pub(super) fn begin(
        &mut self,
        token: Token,
        local: SocketAddr,
        remote: SocketAddr,
        passive: bool,
    ) {
        let side = if passive { Side::Server } else { Side::Client };
        let owner = self.asks_for_owner().then(|| owner(token)).flatten();
        let facts = Facts {
            side,
            local,
            remote,
            process: owner.as_ref().map(|owner| owner.name.clone()),
            cgroup: owner.map(|owner| owner.cgroup),
        };
        self.manager.created(self.now(), token, facts);
    }

    /// Whether a selection goes by process or control group: finding those takes a while.
    fn asks_for_owner(&self) -> bool {
        let mut selections = self.manager.plan().selections.iter();
        selections.any(|it| it.when.process.is_some() || it.when.cgroup.is_some())
    }

    fn subflow_up(&mut self, subflow: &SubflowEvent) {
        let ends = ends(subflow);
        if self.answers_probe(subflow.token, ends) {
            return;
        }
        let known = self.manager.connection(subflow.token);
        // One that we asked for is on its way there.
        let ours = known.is_some_and(|connection| {
            connection.subflows().any(|it| {
                matches!(it.state, State::Opening(_))
                    && it.ends.local.ip() == ends.local.ip()
                    && it.ends.remote == ends.remote
            })
        });
        let event = Event::SubflowUp {
            ends,
            local_id: subflow.local_id,
            ours,
            backup: subflow.backup,
        };
        self.manager.on_event(self.now(), subflow.token, event);
    }
}

/// What the end of a subflow says about another like it.
pub(in crate::pm) fn loss(subflow: &SubflowEvent) -> Loss {
    /// Flag T of MP_TCPRST (RFC 8684 §3.6).
    const TRANSIENT: u32 = 1;
    let Some(reason) = subflow.reset_reason else {
        return Loss::Passing;
    };
    let transient = subflow.reset_flags.unwrap_or(0) & TRANSIENT != 0;
    Loss::of_reset(u8::try_from(reason).unwrap_or(u8::MAX), transient)
}

/// Who has the socket of a connection.
fn owner(token: Token) -> Option<process::Owner> {
    let connections = sockets::connections().ok()?;
    let connection = connections.into_iter().find(|it| it.token == token)?;
    process::owner(connection.inode)
}
