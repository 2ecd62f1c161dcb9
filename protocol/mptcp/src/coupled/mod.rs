//! Coupled congestion control: the subflows of a connection together take what is fair.
//!
//! RFC 6356 §3 names the goals: a connection gets at least what TCP would get on the best of its
//! paths, takes from no shared resource more than one TCP would, and moves away from congestion.
//!
//! A subflow's own controller stays in charge of its window: NewReno, whose steps a [`Coupling`]
//! weighs ([`Steer`]) from the figures of all subflows, after each acknowledgement. TCP does not
//! know of it. To write another, implement [`Coupling::weigh`].

mod balia;
mod lia;
mod name;
mod olia;
mod wvegas;

pub use balia::Balia;
pub use lia::Lia;
pub use name::{Congestion, UnknownCongestion};
pub use olia::Olia;
pub use wvegas::Wvegas;

use crate::config::SubflowId;
use crate::connection::Connection;
use crate::subflow::Subflow;
use anabranch_tcp::congestion::{Algorithm, Steer};
use anabranch_tcp::{Instant, SocketOption};
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;

/// The couplings there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// [`Lia`].
    Lia,
    /// [`Olia`].
    Olia,
    /// [`Balia`].
    Balia,
    /// [`Wvegas`].
    Wvegas,
}

impl Kind {
    fn build(self) -> Box<dyn Coupling> {
        match self {
            Kind::Lia => Box::new(Lia),
            Kind::Olia => Box::new(Olia),
            Kind::Balia => Box::new(Balia),
            Kind::Wvegas => Box::new(Wvegas::default()),
        }
    }
}

/// A subflow as a coupling sees it. Windows are in segments, times in seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Figures {
    /// Which.
    pub id: SubflowId,
    /// Congestion window; during loss recovery what will be left of it.
    pub window: f64,
    /// Smoothed round-trip time, above 0.
    pub rtt: f64,
    /// Least round-trip time seen lately.
    pub base_rtt: f64,
    /// Bytes acknowledged since the last loss, or between the two before if that is more.
    pub between_losses: f64,
    /// In slow start.
    pub slow_start: bool,
    /// Position up to which everything is acknowledged.
    pub acked: u64,
    /// Next position to be sent for the first time: once it is acknowledged, a round is over.
    pub sent: u64,
}

impl Figures {
    /// Segments per second.
    pub fn rate(&self) -> f64 {
        self.window / self.rtt
    }
}

/// Weighs the steps of all subflows.
pub trait Coupling: fmt::Debug + Send {
    /// One [`Steer`] for each subflow, in their order. All have been measured.
    fn weigh(&mut self, paths: &[Figures], steers: &mut [Steer]);
}

/// The coupling of a connection, and what it needs to know beside what TCP knows.
#[derive(Debug)]
pub(crate) struct Coupled {
    pub(crate) kind: Kind,
    coupling: Box<dyn Coupling>,
    losses: SmallVec<[Losses; 2]>,
}

/// Bytes acknowledged when a subflow's losses were.
#[derive(Clone, Copy, Debug)]
struct Losses {
    id: SubflowId,
    events: u32,
    last: u64,
    before: u64,
}

impl Coupled {
    pub(crate) fn new(kind: Kind) -> Box<Coupled> {
        Box::new(Coupled {
            kind,
            coupling: kind.build(),
            losses: SmallVec::new(),
        })
    }

    fn figures(&mut self, s: &Subflow) -> Option<Figures> {
        let (tcb, stats) = (&s.tcb, s.tcb.stats());
        let rtt = tcb.srtt()?.as_secs_f64().max(1e-6);
        let events = stats.recoveries + stats.rtos;
        let at = match self.losses.iter().position(|known| known.id == s.id) {
            Some(at) => at,
            None => {
                self.losses.push(Losses {
                    id: s.id,
                    events,
                    last: 0,
                    before: 0,
                });
                self.losses.len() - 1
            }
        };
        let losses = &mut self.losses[at];
        if losses.events != events {
            losses.events = events;
            (losses.before, losses.last) = (losses.last, stats.bytes_acked);
        }
        let since = (stats.bytes_acked - losses.last).max(losses.last - losses.before);
        let window = tcb.control_window();
        Some(Figures {
            id: s.id,
            window: window as f64 / f64::from(tcb.mss()),
            rtt,
            base_rtt: tcb.min_rtt()?.as_secs_f64().clamp(1e-6, rtt),
            between_losses: since as f64,
            slow_start: window < tcb.ssthresh(),
            acked: tcb.snd_una(),
            sent: tcb.snd_nxt(),
        })
    }

    /// Weigh the steps of the subflows that carry data.
    fn weigh(&mut self, list: &mut [Subflow]) {
        self.losses
            .retain(|known| list.iter().any(|s| s.id == known.id));
        let mut active: SmallVec<[&mut Subflow; 4]> = SmallVec::new();
        let mut figures: SmallVec<[Figures; 4]> = SmallVec::new();
        for subflow in list.iter_mut().filter(|s| s.is_active()) {
            if let Some(of) = self.figures(subflow) {
                active.push(subflow);
                figures.push(of);
            }
        }
        let mut steers: SmallVec<[Steer; 4]> = SmallVec::from_elem(Steer::default(), active.len());
        self.coupling.weigh(&figures, &mut steers);
        for (subflow, steer) in active.into_iter().zip(steers) {
            subflow.tcb.steer(steer);
        }
    }
}

impl crate::Config {
    /// Take over a kind of congestion control, for connections to be opened.
    pub fn set_congestion(&mut self, congestion: Congestion) {
        (self.tcp.congestion.algorithm, self.coupling) = match congestion {
            Congestion::Alone(algorithm) => (algorithm, None),
            Congestion::Coupled(kind) => (Algorithm::NewReno, Some(kind)),
        };
    }
}

impl Connection {
    /// Use another kind of congestion control from now on. Windows stay as they are.
    pub fn set_congestion(&mut self, now: Instant, congestion: Congestion) {
        let config = Arc::make_mut(&mut self.config);
        config.set_congestion(congestion);
        let (algorithm, coupling) = (config.tcp.congestion.algorithm, config.coupling);
        // An algorithm is never out of range.
        let _ = self.set_option(now, &SocketOption::Congestion(algorithm));
        Arc::make_mut(&mut self.config).coupling = coupling;
        self.paths.coupled = coupling.map(Coupled::new);
        self.couple();
    }

    /// What its congestion control is.
    pub fn congestion(&self) -> Congestion {
        match &self.paths.coupled {
            Some(coupled) => Congestion::Coupled(coupled.kind),
            None => Congestion::Alone(self.config.tcp.congestion.algorithm),
        }
    }

    /// After windows or round-trip times changed.
    pub(crate) fn couple(&mut self) {
        if let Some(coupled) = &mut self.paths.coupled {
            coupled.weigh(&mut self.paths.list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Figures;
    use crate::config::SubflowId;

    pub(super) fn path(window: f64, rtt: f64) -> Figures {
        Figures {
            id: SubflowId(0),
            window,
            rtt,
            base_rtt: rtt,
            between_losses: 1000.0,
            slow_start: false,
            acked: 0,
            sent: 0,
        }
    }
}
