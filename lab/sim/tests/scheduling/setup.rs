//! Paths and what is sent over them.

use anabranch_sim::{LinkConfig, Loss, Path, Queue, Scene};
use anabranch_stack::{Scheduler, Steering};
use std::time::Duration;

/// A path: Mbit/s, round-trip time in ms, packets lost of a thousand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) mbit: f64,
    pub(crate) rtt_ms: u64,
    pub(crate) loss: u64,
    /// Time worth of bytes that may wait, ms.
    pub(crate) queue_ms: u64,
}

impl Line {
    pub(crate) fn new(mbit: f64, rtt_ms: u64) -> Line {
        Line {
            mbit,
            rtt_ms,
            loss: 0,
            queue_ms: rtt_ms.max(20),
        }
    }

    pub(crate) fn link(&self) -> LinkConfig {
        let rate = (self.mbit * 1e6) as u64;
        let queue = (rate / 8000 * self.queue_ms).max(30_000);
        LinkConfig {
            rate: Some(rate),
            delay: Duration::from_micros(self.rtt_ms * 500),
            queue: Queue::Bytes(queue),
            ..LinkConfig::new(1, 0)
        }
    }

    /// Losses befall what goes to the client.
    pub(crate) fn path(&self) -> Path {
        let loss = match self.loss {
            0 => Loss::None,
            n => Loss::Random(n as f64 / 1000.0),
        };
        Path {
            back: self.link().loss(loss),
            ..Path::new(self.link())
        }
    }

    pub(crate) fn name(&self) -> String {
        let loss = match self.loss {
            0 => String::new(),
            n => format!(", loss {} %", n as f64 / 10.0),
        };
        format!("{} Mbit/s, {} ms{loss}", self.mbit, self.rtt_ms)
    }
}

/// The server sends over these paths, by this scheduler; the client has this receive buffer.
pub(crate) fn scene(seed: u64, lines: &[Line], scheduler: &str, buffer: Option<usize>) -> Scene {
    let mut scene = Scene::new(seed, lines.iter().map(Line::path).collect());
    let mut server = scene.config.clone();
    server.mptcp.scheduler = kind(scheduler);
    // It is about what schedulers do by themselves.
    server.mptcp.steering = Steering::OFF;
    scene.server_config = Some(server);
    if let Some(buffer) = buffer {
        scene.config.limits.recv_buffer = buffer;
    }
    scene
}

pub(crate) fn kind(scheduler: &str) -> Scheduler {
    scheduler.parse().expect("a scheduler")
}

/// Mbit/s that a client gets in this time of a server sending without end.
pub(crate) fn goodput(scene: &Scene, time: Duration) -> f64 {
    let mut world = scene.clone().bulk(0, 1 << 40).build();
    world.network.run_for(time);
    let client = world.network.node(world.client);
    let received = client.progress().next().map_or(0, |it| it.received);
    received as f64 * 8.0 / time.as_secs_f64() / 1e6
}
