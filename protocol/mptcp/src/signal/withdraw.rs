//! REMOVE_ADDR (RFC 8684 §3.4.2).

use crate::connection::Connection;
use crate::event::{Event, SignalError};
use anabranch_tcp::rest::Vacant;
use anabranch_tcp::{Instant, State};
use smallvec::SmallVec;
use std::time::Duration;

/// Withdrawn IDs in one option: Linux reads no more.
const MAX_REMOVED: usize = 8;

/// IDs of ours that the peer is to forget. Nothing answers REMOVE_ADDR, so each is sent several
/// times.
#[derive(Debug, Default)]
pub(super) struct Withdrawals {
    list: Vec<Withdrawal>,
}

#[derive(Clone, Copy, Debug)]
struct Withdrawal {
    id: u8,
    /// Times it was sent.
    tries: u8,
    /// When it is to be sent next, or has arrived wherever it arrives.
    due: Instant,
    /// It is not sent again.
    over: bool,
}

impl Vacant for Withdrawals {
    fn is_vacant(&self) -> bool {
        self.list.is_empty()
    }
}

impl Withdrawals {
    fn add(&mut self, now: Instant, id: u8) {
        self.cancel(id);
        self.list.push(Withdrawal {
            id,
            tries: 0,
            due: now,
            over: false,
        });
    }

    pub(super) fn cancel(&mut self, id: u8) {
        self.list.retain(|w| w.id != id);
    }

    /// Whether the peer may yet hear that an ID is withdrawn.
    pub(super) fn holds(&self, now: Instant, id: u8) -> bool {
        let pending = |w: &Withdrawal| !w.over || w.due > now;
        self.list.iter().any(|w| w.id == id && pending(w))
    }

    /// The IDs to be sent now.
    pub(super) fn next(&self, now: Instant) -> Option<SmallVec<[u8; 8]>> {
        let due = self.list.iter().filter(|w| !w.over && w.due <= now);
        let ids: SmallVec<[u8; 8]> = due.map(|w| w.id).take(MAX_REMOVED).collect();
        (!ids.is_empty()).then_some(ids)
    }

    /// They leave; again after `pace`, and after twice that, `repeats` times.
    pub(super) fn sent(&mut self, now: Instant, ids: &[u8], pace: Duration, repeats: u8) {
        for w in self.list.iter_mut().filter(|w| ids.contains(&w.id)) {
            w.due = now + pace * (1 << w.tries.min(6));
            w.tries += 1;
            w.over = w.tries > repeats;
        }
        self.list.retain(|w| !w.over || w.due > now);
    }

    /// Of those that are not due already.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let repeated = self.list.iter().filter(|w| !w.over);
        repeated.map(|w| w.due).filter(|t| *t > now).min()
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
    }
}

impl Connection {
    /// Tell the peer that addresses of ours are gone, and end the subflows that use them. ID 0 is
    /// the address of the initial subflow.
    ///
    /// # Errors
    /// [`SignalError::NotMultipath`].
    pub fn withdraw(&mut self, now: Instant, ids: &[u8]) -> Result<(), SignalError> {
        self.multipath()?;
        for id in ids {
            self.signals.release(*id);
            self.signals.withdrawn.add(now, *id);
        }
        // A subflow that still works is closed by FIN, as any other (RFC 8684 §3.4.2).
        let deadline = now + self.config.close_timeout;
        let using = self
            .paths
            .list
            .iter_mut()
            .filter(|s| ids.contains(&s.ids.local));
        using
            .filter(|s| !s.is_ending())
            .for_each(|s| s.leave(deadline));
        self.update(now);
        Ok(())
    }

    /// No new subflow goes there; those that do are probed (see [`super::probe`]). Of IDs that
    /// nobody knows nothing is said.
    pub(super) fn on_remove_addr(&mut self, now: Instant, ids: &[u8]) {
        self.counters.remove_addr_in += 1;
        for id in ids {
            let known = &mut self.signals.theirs.addrs;
            let before = known.len();
            known.retain(|a| a.id != *id);
            let mut heard = known.len() < before;
            for i in 0..self.paths.list.len() {
                let subflow = &mut self.paths.list[i];
                if subflow.ids.remote != *id {
                    continue;
                }
                heard = true;
                match subflow.tcb.state() {
                    _ if subflow.is_ending() => {}
                    // Nobody will answer.
                    State::SynSent => subflow.withdrawn(),
                    _ => self.probe_path(now, i),
                }
            }
            if heard {
                self.events.push(Event::Withdrawn(*id));
            }
        }
    }
}
