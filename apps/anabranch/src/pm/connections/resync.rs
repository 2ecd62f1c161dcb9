//! What the kernel has, asked for at the start and when events were lost.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_kernel::mptcp::sockets;
use anabranch_paths::{Ends, Event, Loss, Token};

use super::{Connections, ends_now};

impl Connections {
    /// Asks the kernel what there is, at the start and when events were lost.
    ///
    /// # Errors
    /// One line.
    pub(in crate::pm) fn resync(&mut self) -> Result<(), String> {
        let connections = sockets::connections().map_err(|error| error.to_string())?;
        let mut subflows: BTreeMap<Token, Vec<sockets::Subflow>> = BTreeMap::new();
        for subflow in sockets::subflows().map_err(|error| error.to_string())? {
            subflows.entry(subflow.token).or_default().push(subflow);
        }
        let alive: BTreeSet<Token> = connections
            .iter()
            .filter(|it| !it.fallback)
            .map(|it| it.token)
            .collect();
        let known: Vec<Token> = self.manager.connections().map(|(it, ..)| it).collect();
        let gone = known.iter().filter(|token| !alive.contains(token));
        for token in gone {
            self.listeners.forget(*token);
            self.probes.forget(*token);
            self.manager.on_event(self.now(), *token, Event::Closed);
        }
        for connection in connections.iter().filter(|it| alive.contains(&it.token)) {
            let here = subflows.remove(&connection.token).unwrap_or_default();
            self.recognise(connection, &here);
        }
        self.act();
        Ok(())
    }

    /// Makes what is known of a connection what there is.
    fn recognise(&mut self, connection: &sockets::Connection, subflows: &[sockets::Subflow]) {
        let (now, token) = (self.now(), connection.token);
        if self.manager.connection(token).is_none() {
            // The kernel manages those that began while it was to; they refuse.
            if !self.tries && self.kernel.addresses(token).is_err() {
                return;
            }
            let initial = subflows.iter().find(|it| !it.joined);
            let passive = initial.is_some_and(|it| it.passive);
            self.begin(token, connection.local, connection.remote, passive);
            // Whether the peer denies joins is not to be asked: a refused join tells.
            let deny_join = false;
            self.manager
                .on_event(now, token, Event::Established { deny_join });
        }
        let there: Vec<Ends> = subflows.iter().map(ends_now).collect();
        let known = self.manager.connection(token);
        let lost: Vec<Ends> = known
            .into_iter()
            .flat_map(|it| it.subflows())
            .map(|it| it.ends)
            .filter(|ends| !there.contains(ends))
            .collect();
        for ends in lost {
            let loss = Loss::Passing;
            self.manager
                .on_event(now, token, Event::SubflowDown { ends, loss });
        }
        for subflow in subflows.iter().filter(|it| it.joined) {
            // Its address went while nobody looked.
            if !self.tries && !self.manager.host().works(subflow.local.ip()) {
                self.abandon(subflow);
                continue;
            }
            let event = Event::SubflowUp {
                ends: ends_now(subflow),
                local_id: subflow.local_id,
                ours: !subflow.passive,
                backup: subflow.backup,
            };
            self.manager.on_event(now, token, event);
        }
    }

    /// Ends a subflow that can carry nothing, and tells the peer.
    fn abandon(&self, subflow: &sockets::Subflow) {
        let (token, id) = (subflow.token, subflow.local_id);
        let gone = self.kernel.withdraw(token, id);
        let ended = self
            .kernel
            .destroy_subflow(token, subflow.local, subflow.remote);
        // The one may have done what the other would.
        if let (Err(_), Err(error)) = (gone, ended) {
            tracing::debug!("{error}");
        }
    }
}
