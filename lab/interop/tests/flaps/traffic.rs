//! Bytes both ways until told to stop, and whether they are the same at either end.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anabranch_interop::pattern::{Digest, Pattern, Tally};

const CHUNK: usize = 16 * 1024;

type Worker = JoinHandle<io::Result<Tally>>;

/// A connection that carries two endless patterns.
pub(crate) struct Traffic {
    patterns: [Pattern; 2],
    stop: Arc<AtomicBool>,
    arrived: [Arc<AtomicU64>; 2],
    up: [Worker; 2],
    down: [Worker; 2],
    stall: Stall,
}

/// What went one way over a connection.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) pattern: Pattern,
    pub(crate) sent: Digest,
    pub(crate) received: Digest,
    /// Offset of the first byte that was not the pattern's.
    pub(crate) first_wrong: Option<u64>,
}

/// The longest time in which nothing arrived in a direction.
struct Stall {
    seen: [(u64, Instant); 2],
    longest: Duration,
}

/// One end of a connection: where to write, which closes its half when dropped or by `close`, and
/// where to read.
pub(crate) struct End {
    pub(crate) writer: Box<dyn Write + Send>,
    pub(crate) close: Box<dyn FnOnce() + Send>,
    pub(crate) reader: Box<dyn Read + Send>,
}

impl Traffic {
    pub(crate) fn start(seed: u64, client: End, server: End) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let arrived: [Arc<AtomicU64>; 2] = Default::default();
        let [up, down] = [seed ^ 0x7570, seed ^ 0x646f].map(Pattern::new);
        let send = |pattern, writer, close| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || send(pattern, writer, close, &stop))
        };
        let receive = |pattern, reader, way: usize| {
            let arrived = Arc::clone(&arrived[way]);
            thread::spawn(move || receive(pattern, reader, &arrived))
        };
        let now = Instant::now();
        Traffic {
            patterns: [up, down],
            up: [
                send(up, client.writer, client.close),
                receive(up, server.reader, 0),
            ],
            down: [
                send(down, server.writer, server.close),
                receive(down, client.reader, 1),
            ],
            stall: Stall {
                seen: [(0, now); 2],
                longest: Duration::ZERO,
            },
            stop,
            arrived,
        }
    }

    /// Looks how far it is.
    pub(crate) fn look(&mut self) {
        let now = Instant::now();
        for (seen, arrived) in self.stall.seen.iter_mut().zip(&self.arrived) {
            let bytes = arrived.load(Ordering::Relaxed);
            if bytes != seen.0 {
                self.stall.longest = self.stall.longest.max(now - seen.1);
                *seen = (bytes, now);
            }
        }
    }

    pub(crate) fn longest_stall(&self) -> Duration {
        self.stall.longest
    }

    /// Ends it in order; what was carried to the server, and to the client.
    ///
    /// # Panics
    /// If the connection broke.
    pub(crate) fn finish(self) -> [Carried; 2] {
        self.stop.store(true, Ordering::Relaxed);
        let done = |end: Worker| -> (Digest, Option<u64>) {
            let tally = end.join().expect("no thread panics");
            let tally = tally.expect("the connection lives");
            (tally.digest(), tally.first_wrong())
        };
        let [up, down] = self.patterns;
        [(up, self.up), (down, self.down)].map(|(pattern, [sent, received])| {
            let ((received, first_wrong), (sent, _)) = (done(received), done(sent));
            Carried {
                pattern,
                sent,
                received,
                first_wrong,
            }
        })
    }
}

impl Carried {
    /// Whether all that was sent arrived, and nothing else.
    pub(crate) fn is_right(&self) -> bool {
        self.first_wrong.is_none() && self.sent == self.received
    }
}

fn send(
    pattern: Pattern,
    mut writer: Box<dyn Write + Send>,
    close: Box<dyn FnOnce() + Send>,
    stop: &AtomicBool,
) -> io::Result<Tally> {
    let mut tally = Tally::new(pattern);
    let mut chunk = [0; CHUNK];
    while !stop.load(Ordering::Relaxed) {
        pattern.fill(tally.bytes(), &mut chunk);
        writer.write_all(&chunk)?;
        tally.update(&chunk);
    }
    drop(writer);
    close();
    Ok(tally)
}

fn receive(
    pattern: Pattern,
    mut reader: Box<dyn Read + Send>,
    arrived: &AtomicU64,
) -> io::Result<Tally> {
    let mut tally = Tally::new(pattern);
    let mut chunk = [0; CHUNK];
    loop {
        match reader.read(&mut chunk)? {
            0 => return Ok(tally),
            n => tally.update(&chunk[..n]),
        }
        arrived.store(tally.bytes(), Ordering::Relaxed);
    }
}
