//! Listeners and their accept queues.

use crate::config::ListenConfig;
use crate::error::ListenError;
use crate::id::{FlowId, ListenerId};
use crate::random::{KeyedHash, SeededMap};
use crate::settings::Settings;
use crate::slots::Slots;
use anabranch_tcp::SocketOption;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub(crate) struct Listener {
    pub(crate) config: ListenConfig,
    /// Handshakes begun by peers and not complete.
    pub(crate) half_open: usize,
    /// Those handed over by Fast Open before their handshake is complete.
    pub(crate) early: usize,
    /// Established, waiting for the application.
    pub(crate) queue: VecDeque<FlowId>,
    /// Options of the connections to come.
    pub(crate) options: Vec<SocketOption>,
    /// What follows from them, if there are any.
    settings: Option<Settings>,
    /// Connections on which nothing arrived are kept back so long.
    pub(crate) defer: Option<Duration>,
    /// [`crate::Event::Accepted`] is queued already.
    pub(crate) told: bool,
}

/// Why a listener takes no further connection now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Full {
    HalfOpen,
    Queue,
}

pub(crate) struct Listeners {
    slots: Slots<Listener>,
    by_addr: SeededMap<(Option<IpAddr>, u16), ListenerId>,
}

impl Listener {
    /// Whether one more handshake may begin.
    pub(crate) fn admit(&self) -> Result<(), Full> {
        if self.queue.len() >= self.config.backlog {
            return Err(Full::Queue);
        }
        if self.half_open >= self.config.backlog {
            return Err(Full::HalfOpen);
        }
        Ok(())
    }
}

impl Listener {
    /// What its connections are set to; `usual` where nothing else was asked.
    pub(crate) fn settings(&self, usual: &Settings) -> Settings {
        self.settings.as_ref().unwrap_or(usual).clone()
    }

    /// Its options, or what is usual, have changed.
    pub(crate) fn settle(&mut self, usual: &Settings) {
        self.settings = (!self.options.is_empty()).then(|| usual.with(&self.options));
    }
}

impl Listeners {
    pub(crate) fn new(hash: KeyedHash) -> Self {
        Listeners {
            slots: Slots::new(),
            by_addr: SeededMap::with_hasher(hash),
        }
    }

    pub(crate) fn insert(&mut self, config: ListenConfig) -> Result<ListenerId, ListenError> {
        let key = (config.addr, config.port);
        if self.by_addr.contains_key(&key) {
            return Err(ListenError::InUse);
        }
        let (index, generation) = self.slots.insert(Listener {
            config,
            half_open: 0,
            early: 0,
            queue: VecDeque::new(),
            options: Vec::new(),
            settings: None,
            defer: None,
            told: false,
        });
        let id = ListenerId { index, generation };
        self.by_addr.insert(key, id);
        Ok(id)
    }

    pub(crate) fn remove(&mut self, id: ListenerId) -> Option<Listener> {
        let listener = self.slots.remove((id.index, id.generation))?;
        self.by_addr
            .remove(&(listener.config.addr, listener.config.port));
        Some(listener)
    }

    /// What the connections of a listener are set to.
    pub(crate) fn settings(&self, id: ListenerId, usual: &Settings) -> Settings {
        let listener = self.get(id);
        listener.map_or_else(|| usual.clone(), |listener| listener.settings(usual))
    }

    pub(crate) fn get(&self, id: ListenerId) -> Option<&Listener> {
        self.slots.get((id.index, id.generation))
    }

    pub(crate) fn get_mut(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.slots.get_mut((id.index, id.generation))
    }

    /// What is usual has changed.
    pub(crate) fn reconfigure(&mut self, usual: &Settings) {
        for (_, listener) in self.slots.iter_mut() {
            listener.settle(usual);
        }
    }

    /// Who listens at this address: the one for exactly this, else the one for every address.
    pub(crate) fn find(&self, at: SocketAddr) -> Option<(ListenerId, &Listener)> {
        let exact = self.by_addr.get(&(Some(at.ip()), at.port()));
        let id = *exact.or_else(|| self.by_addr.get(&(None, at.port())))?;
        Some((id, self.slots.get((id.index, id.generation))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn the_exact_address_goes_before_the_wildcard() {
        let mut listeners = Listeners::new(Random::new([0; 32]).hash());
        let exact: SocketAddr = ([10, 0, 0, 1], 80).into();
        let any = listeners.insert(ListenConfig::port(80)).unwrap();
        let one = listeners.insert(ListenConfig::at(exact)).unwrap();
        assert_eq!(
            listeners.insert(ListenConfig::at(exact)),
            Err(ListenError::InUse)
        );
        let find = |l: &Listeners, at: SocketAddr| l.find(at).map(|(id, _)| id);
        assert_eq!(find(&listeners, exact), Some(one));
        assert_eq!(find(&listeners, ([10, 0, 0, 2], 80).into()), Some(any));
        assert_eq!(find(&listeners, ([10, 0, 0, 2], 81).into()), None);
        listeners.remove(one).unwrap();
        assert_eq!(find(&listeners, exact), Some(any));
    }
}
