//! Signs of life of subflows that stand by. The kernel has no word for asking one for it; a further
//! subflow between the same addresses, closed as soon as it is established, asks the same path.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anabranch_kernel::mptcp::LocalEnd;
use anabranch_paths::{Ends, Event, Quality, State, Token};

use super::Connections;

/// Probes under way: one at a time between two addresses.
#[derive(Default)]
pub(super) struct Probes(BTreeMap<(Token, IpAddr, SocketAddr), Ends>);

fn key(token: Token, ends: &Ends) -> (Token, IpAddr, SocketAddr) {
    (token, ends.local.ip(), ends.remote)
}

impl Probes {
    /// One between the addresses of a subflow ended, whether it was established or not.
    pub(super) fn ended(&mut self, token: Token, ends: &Ends) {
        let key = key(token, ends);
        // It may be the subflow asked about itself: then there is nothing to wait for either.
        self.0.remove(&key);
    }

    /// A connection is no more.
    pub(super) fn forget(&mut self, token: Token) {
        self.0.retain(|(of, ..), _| *of != token);
    }
}

impl Connections {
    /// Asks a subflow for a sign of life.
    pub(super) fn probe(&mut self, token: Token, ends: Ends) -> anabranch_kernel::Result<()> {
        let sources = self.manager.connection(token).map(|it| it.sources());
        let mut sources = sources.into_iter().flatten();
        let from = sources.find(|it| it.addr.ip() == ends.local.ip());
        let Some(from) = from.filter(|_| !self.probes.0.contains_key(&key(token, &ends))) else {
            return Ok(());
        };
        let local = LocalEnd {
            address: SocketAddr::new(ends.local.ip(), 0),
            id: self.id_of(token, &from),
            backup: true,
            link: from.link,
        };
        self.probes.0.insert(key(token, &ends), ends);
        let begun = self.kernel.create_subflow(token, &local, ends.remote);
        if begun.is_err() {
            self.probes.ended(token, &ends);
        }
        begun
    }

    /// Whether a subflow that is established is the answer to a probe: then that is all it was for.
    pub(super) fn answers_probe(&mut self, token: Token, ends: Ends) -> bool {
        let Some(asked) = self.probes.0.remove(&key(token, &ends)) else {
            return false;
        };
        let stands = self.manager.connection(token).is_some_and(|connection| {
            let mut all = connection.subflows();
            all.any(|it| it.ends == asked && matches!(it.state, State::Up(_)))
        });
        // What was given up meanwhile is had again by it.
        if !stands {
            return false;
        }
        let quality = Quality {
            heard: Some(self.now()),
            ..Quality::default()
        };
        let heard = Event::Quality {
            ends: asked,
            quality,
        };
        self.manager.on_event(self.now(), token, heard);
        let ended = self.kernel.destroy_subflow(token, ends.local, ends.remote);
        if let Err(error) = ended {
            tracing::debug!("{error}");
        }
        true
    }
}
