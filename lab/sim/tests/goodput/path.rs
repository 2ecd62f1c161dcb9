//! One connection over one path, for so long.

use anabranch_sim::{Faults, LinkConfig, Loss, Path, Queue, Scene};
use anabranch_tcp::congestion::Algorithm;
use std::time::Duration;

/// Payload and size of a full packet: IPv4, timestamps.
const PAYLOAD: f64 = 1448.0;
const PACKET: f64 = 1500.0;
/// Least queue, bytes.
const LEAST_QUEUE: f64 = 15_000.0;

/// A path and what is sent over it.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) mbit: u64,
    pub(crate) rtt_ms: u64,
    /// Bandwidth-delay products.
    pub(crate) queue: f64,
    pub(crate) loss: f64,
    /// Packets that are late by half a round trip.
    pub(crate) reorder: f64,
    /// Receive buffer, bandwidth-delay products; `None`: the default.
    pub(crate) buffer: Option<f64>,
    pub(crate) algorithm: Algorithm,
}

impl Cell {
    pub(crate) fn new(mbit: u64, rtt_ms: u64) -> Cell {
        Cell {
            mbit,
            rtt_ms,
            queue: 1.0,
            loss: 0.0,
            reorder: 0.0,
            buffer: None,
            algorithm: Algorithm::Cubic,
        }
    }

    /// Bandwidth-delay product, bytes.
    fn bdp(&self) -> f64 {
        (self.mbit * self.rtt_ms) as f64 * 125.0
    }

    fn rtt(&self) -> f64 {
        self.rtt_ms as f64 / 1000.0
    }

    fn recv_buffer(&self) -> Option<usize> {
        self.buffer.map(|part| (part * self.bdp()) as usize)
    }

    pub(crate) fn path(&self) -> Path {
        let delay = Duration::from_micros(self.rtt_ms * 500);
        let back = LinkConfig {
            delay,
            queue: Queue::Bytes((self.queue * self.bdp()).max(LEAST_QUEUE) as u64),
            ..LinkConfig::new(self.mbit, 0)
        };
        let faults = Faults {
            reorder: self.reorder,
            reorder_delay: delay,
            ..Faults::default()
        };
        let loss = match self.loss {
            0.0 => Loss::None,
            part => Loss::Random(part),
        };
        let there = back.clone().loss(loss).faults(faults);
        Path {
            there,
            ..Path::new(back)
        }
    }

    /// What a link of this rate can carry, bit/s of payload.
    pub(crate) fn capacity(&self) -> f64 {
        self.mbit as f64 * 1e6 * PAYLOAD / PACKET
    }

    /// What could be had at most, or on average where packets are lost, bit/s of payload: the
    /// least of the link, the buffer a round trip, and CUBIC's response function (RFC 9438 §5.1),
    /// or Reno's (RFC 5681, as Mathis et al. 1997 have it) where that is more.
    pub(crate) fn limit(&self) -> f64 {
        let mut limit = self.capacity();
        if let Some(buffer) = self.recv_buffer() {
            limit = limit.min(buffer as f64 * 8.0 / self.rtt());
        }
        if self.loss > 0.0 {
            let cubic = 1.054 * (self.rtt() / self.loss).powf(0.75);
            let window = cubic.max(1.22 / self.loss.sqrt());
            limit = limit.min(window * PAYLOAD * 8.0 / self.rtt());
        }
        limit
    }

    /// Long enough for slow start to matter little, and for losses to be many where they decide.
    fn duration(&self) -> Duration {
        let (packets, rounds) = match self.loss {
            0.0 => (20_000.0, 50.0),
            _ => (15_000.0, 500.0),
        };
        let seconds = packets * PAYLOAD * 8.0 / self.limit();
        Duration::from_secs_f64(seconds.max(rounds * self.rtt()).min(60.0))
    }

    /// Payload delivered, bit/s; the mean of two runs where chance has a part.
    pub(crate) fn goodput(&self) -> f64 {
        let seeds = if self.loss > 0.0 { 2 } else { 1 };
        let sum: u64 = (0..seeds).map(|seed| self.run(seed)).sum();
        sum as f64 * 8.0 / self.duration().as_secs_f64() / seeds as f64
    }

    fn run(&self, seed: u64) -> u64 {
        let mut scene = Scene::new(seed, vec![self.path()]);
        scene.mptcp = false;
        scene.config.tcp.congestion.algorithm = self.algorithm;
        if let Some(buffer) = self.recv_buffer() {
            let mut config = scene.config.clone();
            config.limits.recv_buffer = buffer;
            scene.server_config = Some(config);
        }
        delivered(&scene, self.duration())
    }
}

/// Bytes that the server of `scene` has after `time` of a client sending without end.
pub(crate) fn delivered(scene: &Scene, time: Duration) -> u64 {
    let mut world = scene.clone().bulk(1 << 40, 0).build();
    world.network.run_for(time);
    let server = world.network.node(world.server);
    server.progress().next().map_or(0, |it| it.received)
}
