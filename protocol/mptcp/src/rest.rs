//! Connections at rest: see [`anabranch_tcp::rest`].

use crate::config::{Config, Path, Start};
use crate::connection::{Connection, Mode, Scheduling};
use crate::coupled::Coupled;
use crate::event::GoneReason;
use crate::handshake::Handshake;
use crate::schedule::{Decision, Log, Scheduler, View};
use crate::secret::Keys;
use crate::subflow;
use anabranch_tcp::rest::Parcel;
use anabranch_tcp::{Instant, Tcb};
use anabranch_wire::Seq;
use std::fmt;
use std::sync::Arc;

/// An idle connection, as small as it gets.
pub struct Resting {
    config: Arc<Config>,
    kept: Kept,
    /// Everything else.
    packed: Box<[u8]>,
}

/// What is not written down: what others implement, and keys, to be wiped with their last use.
struct Kept {
    scheduling: Scheduling,
    coupled: Option<Box<Coupled>>,
    keys: Keys,
    last_gone: Option<GoneReason>,
}

impl fmt::Debug for Resting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resting({} bytes)", self.packed.len())
    }
}

impl Connection {
    /// What the connection is, written down; `None`, and nothing has changed, if it holds bytes, or
    /// something is under way. After `Some` it is to be dropped.
    pub fn rest(&mut self) -> Option<Resting> {
        let config = self.config.clone();
        let packed = Parcel::fill(self, &usual(&config))?;
        let stand_in = named(self.scheduling.name());
        let kept = Kept {
            scheduling: std::mem::replace(&mut self.scheduling, stand_in),
            coupled: self.paths.coupled.take(),
            keys: self.handshake.keys.clone(),
            last_gone: *self.closing.last_gone_mut(),
        };
        Some(Resting {
            config,
            kept,
            packed,
        })
    }

    /// Since when nothing came or went; `None`: bytes are held, or something is under way.
    pub fn idle_since(&self) -> Option<Instant> {
        let held = self.tx.una() < self.tx.end() || self.rx.readable() + self.rx.out_of_order() > 0;
        if self.mode == Mode::Opening || held {
            return None;
        }
        let mut since = None;
        for subflow in &self.paths.list {
            since = since.max(Some(subflow.tcb.idle_since()?));
        }
        since
    }
}

impl Resting {
    /// See [`Connection::decision_log`].
    pub fn decision_log(&self) -> Option<&Log> {
        self.kept.scheduling.log()
    }

    /// The connection as it was. This is to be dropped then.
    pub fn wake(&mut self) -> Connection {
        let mut connection = self.look();
        std::mem::swap(&mut connection.scheduling, &mut self.kept.scheduling);
        connection.paths.coupled = self.kept.coupled.take();
        connection
    }

    /// A copy of the connection as it was, to look at: of its scheduler it has the name.
    pub fn look(&self) -> Connection {
        let (now, usual) = (Instant::default(), usual(&self.config));
        let tcb = Tcb::connect(now, &usual, Seq::default(), 0);
        let handshake = Handshake::fresh(self.kept.keys.clone(), &self.config);
        let mut connection = Connection::new(now, &self.config, handshake, Path::nowhere(), tcb);
        Parcel::empty(&self.packed, &usual, &mut connection);
        connection.scheduling = named(self.kept.scheduling.name());
        let coupled = self.kept.coupled.as_ref();
        connection.paths.coupled = coupled.map(|coupled| Coupled::new(coupled.kind));
        *connection.closing.last_gone_mut() = self.kept.last_gone;
        connection
    }
}

/// Stands in for a scheduler where nothing is sent.
#[derive(Debug)]
struct Named(&'static str);

impl Scheduler for Named {
    fn name(&self) -> &'static str {
        self.0
    }

    fn pick(&mut self, _: &View<'_>) -> Decision {
        Decision::Wait("the connection rests")
    }
}

fn named(name: &'static str) -> Scheduling {
    Scheduling::new(Box::new(Named(name)))
}

/// The settings that most subflows have: what differs is written down.
fn usual(config: &Config) -> anabranch_tcp::Config {
    let start = Start {
        iss: Seq::default(),
        ts_offset: 0,
        mss: config.tcp.mss,
        known_mss: None,
    };
    subflow::tcb_config(&config.tcp, &start)
}
