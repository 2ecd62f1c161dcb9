//! What a link does to packets.

use anabranch_tcp::Instant;
use std::time::Duration;

/// How one direction of a link behaves. The default is perfect: no delay, unlimited rate and queue.
#[derive(Clone, Debug, Default)]
pub struct LinkConfig {
    /// Bit/s, counted over IP packets; unlimited if `None`.
    pub rate: Option<u64>,
    /// Propagation delay, after the queue.
    pub delay: Duration,
    /// Up to so much more delay, uniform; by itself it never reorders.
    pub jitter: Duration,
    /// What may wait for the transmitter; more is dropped.
    pub queue: Queue,
    /// Packets lost on the wire (they have used capacity).
    pub loss: Loss,
    /// Probabilities, each in `[0, 1]`.
    pub faults: Faults,
    /// Changes over time, in any order.
    pub schedule: Vec<(Instant, Change)>,
}

/// Rare faults that strike a packet on the wire.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Probability that later packets overtake this one ...
    pub reorder: f64,
    /// ... which takes so much longer.
    pub reorder_delay: Duration,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// Probability that one byte is altered. An Internet checksum always sees this.
    pub corrupt: f64,
}

/// Limit of what waits for the transmitter, not counting the packet being sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Queue {
    /// No limit.
    #[default]
    Unlimited,
    /// So many bytes; a single packet is always taken.
    Bytes(u64),
    /// So many packets.
    Packets(usize),
    /// So many packets, some of which are dropped early, by chance, so that those who share the
    /// queue do not all lose at once (random early detection).
    Early(usize),
}

/// Loss models.
#[derive(Clone, Copy, Debug, Default)]
pub enum Loss {
    /// Nothing is lost.
    #[default]
    None,
    /// Each packet independently, with this probability.
    Random(f64),
    /// Gilbert–Elliott: two states, left after each packet with a probability.
    Bursts {
        /// From good to bad.
        enter: f64,
        /// From bad to good; the mean burst is `1 / leave` packets.
        leave: f64,
        /// Loss in the good state.
        good: f64,
        /// Loss in the bad state.
        bad: f64,
    },
}

/// A change to a running link.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// A new rate, from the next packet on.
    Rate(Option<u64>),
    /// A new propagation delay for packets not yet on the wire.
    Delay(Duration),
    /// A new loss model.
    Loss(Loss),
    /// Whether packets vanish on the wire without a trace, as behind a dead router.
    Blackhole(bool),
    /// Carrier: going down loses what is queued and in flight, and takes nothing while down.
    Down(bool),
}

impl LinkConfig {
    /// A link of `mbit` Mbit/s and `delay_ms` ms one way, with a queue of one bandwidth-delay
    /// product of the round trip, or 64 kB if that is more.
    pub fn new(mbit: u64, delay_ms: u64) -> LinkConfig {
        let rate = mbit * 1_000_000;
        LinkConfig {
            rate: Some(rate),
            delay: Duration::from_millis(delay_ms),
            queue: Queue::Bytes((rate / 8 * 2 * delay_ms / 1000).max(64_000)),
            ..LinkConfig::default()
        }
    }

    /// The same with this loss model.
    #[must_use]
    pub fn loss(mut self, loss: Loss) -> LinkConfig {
        self.loss = loss;
        self
    }

    /// The same with these faults.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> LinkConfig {
        self.faults = faults;
        self
    }

    /// The same with this queue.
    #[must_use]
    pub fn queue(mut self, queue: Queue) -> LinkConfig {
        self.queue = queue;
        self
    }

    /// The same with a change at `at`.
    #[must_use]
    pub fn change(mut self, at: Instant, change: Change) -> LinkConfig {
        self.schedule.push((at, change));
        self
    }
}
