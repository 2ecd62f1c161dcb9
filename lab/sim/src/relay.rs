//! Links in real time: a relay between two packet devices.
//!
//! Put between two network namespaces, it gives two kernels a path with the rate, delay and loss
//! of a [`Link`]. Whatever keeps packets apart when read and written will do: TUN devices, packet
//! sockets, datagram sockets.

use crate::link::{Link, LinkConfig, LinkStats, Packet};
use crate::tap::Tap;
use anabranch_tcp::Instant;
use bytes::Bytes;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{self, Duration};

/// Time spent looking again and again before sleeping: waking up costs more.
const SPIN: Duration = Duration::from_micros(20);
/// Longest sleep, so that a relay soon sees that it shall stop.
const NAP: Duration = Duration::from_millis(50);
/// Packets read from one device before the other gets its turn.
const BATCH: usize = 64;

/// Two packet devices and a link each way between them.
pub struct Relay {
    ends: [File; 2],
    /// `links[0]` carries what comes from `ends[0]`.
    links: [Link; 2],
    start: time::Instant,
    buffer: Box<[u8]>,
    refused: u64,
    lateness: Lateness,
    tap: Tap,
}

/// How much later than its link said packets left the relay.
#[derive(Clone, Debug)]
pub struct Lateness {
    /// Packets by microseconds; the last entry holds what was later still.
    counts: Box<[u64]>,
    max: Duration,
}

impl Default for Lateness {
    fn default() -> Lateness {
        Lateness {
            counts: vec![0; 10_000].into(),
            max: Duration::ZERO,
        }
    }
}

impl Lateness {
    /// What this part (from 0 to 1) of the packets did not exceed, to the microsecond and up to
    /// 10 ms; zero without packets.
    pub fn quantile(&self, part: f64) -> Duration {
        let rank = (self.counts.iter().sum::<u64>() as f64 * part) as u64;
        let mut seen = 0;
        let within = |count: &u64| {
            seen += count;
            seen > rank
        };
        let micros = self.counts.iter().position(within);
        Duration::from_micros(micros.unwrap_or_default() as u64)
    }

    /// The latest of all.
    pub fn max(&self) -> Duration {
        self.max
    }

    fn note(&mut self, late: Duration) {
        let micros = usize::try_from(late.as_micros()).unwrap_or(usize::MAX);
        self.counts[micros.min(self.counts.len() - 1)] += 1;
        self.max = self.max.max(late);
    }
}

impl Relay {
    /// A relay from `a` `there` to `b` and `back`, whose schedules count from now. Both devices
    /// are set to non-blocking.
    ///
    /// # Errors
    /// If one of them cannot be.
    pub fn new(
        a: OwnedFd,
        b: OwnedFd,
        (there, back): (LinkConfig, LinkConfig),
        seed: u64,
    ) -> io::Result<Relay> {
        for end in [&a, &b] {
            let flags = OFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFL)?);
            fcntl(end, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        }
        Ok(Relay {
            ends: [File::from(a), File::from(b)],
            links: [Link::new(there, seed), Link::new(back, !seed)],
            start: time::Instant::now(),
            buffer: vec![0; 1 << 16].into(),
            refused: 0,
            lateness: Lateness::default(),
            tap: Tap::default(),
        })
    }

    /// Also writes all packets to a pcapng file, as they come in: before the links.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn capture(&mut self, path: &Path) -> io::Result<()> {
        self.tap.capture(path, &["there".into(), "back".into()])
    }

    /// Forwards until `stop` is set.
    ///
    /// # Errors
    /// Those of reading; a packet that cannot be written is lost and counted.
    pub fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        // By default the kernel may wake a thread 50 µs late (PR_SET_TIMERSLACK, prctl(2)).
        nix::sys::prctl::set_timerslack(1)?;
        let mut idle_since = time::Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if self.step()? {
                idle_since = time::Instant::now();
            } else if idle_since.elapsed() > SPIN {
                self.sleep()?;
                idle_since = time::Instant::now();
            }
        }
        Ok(())
    }

    /// Counters of both directions, there and back.
    pub fn stats(&self) -> [LinkStats; 2] {
        [self.links[0].stats(), self.links[1].stats()]
    }

    /// Packets that a device would not take.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// How exact the relay was.
    pub fn lateness(&self) -> &Lateness {
        &self.lateness
    }

    fn now(&self) -> Instant {
        Instant(0) + self.start.elapsed()
    }

    /// Moves what can be moved now; whether there was anything.
    fn step(&mut self) -> io::Result<bool> {
        let mut moved = false;
        for from in 0..2 {
            for _ in 0..BATCH {
                let Some(data) = self.read(from)? else {
                    break;
                };
                moved = true;
                let now = self.now();
                self.tap.see(now, from as u32, &data);
                self.links[from].push(now, Packet { data, tag: 0 });
            }
            loop {
                let now = self.now();
                let Some((due, packet)) = self.links[from].pop_timed(now) else {
                    break;
                };
                moved = true;
                self.lateness.note(now.since(due));
                if self.ends[1 - from].write(&packet.data).is_err() {
                    self.refused += 1;
                }
            }
        }
        Ok(moved)
    }

    fn read(&mut self, from: usize) -> io::Result<Option<Bytes>> {
        match self.ends[from].read(&mut self.buffer) {
            Ok(len) => Ok(Some(Bytes::copy_from_slice(&self.buffer[..len]))),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Sleeps until a packet comes or one is due, a little early: the rest is spent spinning.
    fn sleep(&self) -> io::Result<()> {
        let due = self.links.iter().filter_map(Link::deadline).min();
        let nap = due.map_or(NAP, |at| at.since(self.now()).min(NAP));
        let Some(nap) = nap.checked_sub(SPIN) else {
            return Ok(());
        };
        let mut fds = self
            .ends
            .each_ref()
            .map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
        match ppoll(&mut fds, Some(TimeSpec::from_duration(nap)), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
