//! What a client and a backend do with a connection.
//!
//! The client's stream begins with a [`Plan`] of 32 bytes; then both directions carry the
//! [`Pattern`]s the plan names. Nothing else goes over the connection, so every byte of it can be
//! checked by either end and by a capture.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::pattern::{Digest, Pattern, Tally};

/// Bytes of a plan on the wire.
pub const PLAN_LEN: usize = 32;

const MAGIC: [u8; 4] = *b"ANAB";
const CHUNK: usize = 256 * 1024;

/// In which order the two directions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Both at once.
    Both,
    /// The client sends everything and closes its half; only then the backend sends.
    ClientFirst,
    /// The backend sends everything and closes its half; only then the client sends.
    BackendFirst,
}

/// What goes over one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Names the connection, and the data of both directions.
    pub seed: u64,
    /// Bytes from the client to the backend, beyond the plan itself.
    pub up: u64,
    /// Bytes from the backend to the client.
    pub down: u64,
    /// Which direction goes when.
    pub order: Order,
    /// How long the backend reads nothing after the plan.
    pub backend_pause: Duration,
    /// How long the client reads nothing after the connection is up.
    pub client_pause: Duration,
}

impl Plan {
    /// `up` and `down` bytes at once, without pauses.
    pub const fn new(seed: u64, up: u64, down: u64) -> Self {
        Self {
            seed,
            up,
            down,
            order: Order::Both,
            backend_pause: Duration::ZERO,
            client_pause: Duration::ZERO,
        }
    }

    /// The client's bytes behind the plan.
    pub const fn up_pattern(&self) -> Pattern {
        Pattern::new(self.seed ^ 0x7570)
    }

    /// The backend's bytes.
    pub const fn down_pattern(&self) -> Pattern {
        Pattern::new(self.seed ^ 0x646f_776e)
    }

    /// The first bytes of the client.
    pub fn encode(&self) -> [u8; PLAN_LEN] {
        let order = match self.order {
            Order::Both => 0u16,
            Order::ClientFirst => 1,
            Order::BackendFirst => 2,
        };
        let pause = u16::try_from(self.backend_pause.as_millis()).expect("pauses are below 65 s");
        let mut bytes = [0; PLAN_LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&order.to_be_bytes());
        bytes[6..8].copy_from_slice(&pause.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.seed.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.up.to_be_bytes());
        bytes[24..].copy_from_slice(&self.down.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; PLAN_LEN]) -> io::Result<Self> {
        let invalid = |what| io::Error::new(ErrorKind::InvalidData, what);
        let long = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        let short = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        if bytes[..4] != MAGIC {
            return Err(invalid("not a plan"));
        }
        let order = match short(4) {
            0 => Order::Both,
            1 => Order::ClientFirst,
            2 => Order::BackendFirst,
            _ => return Err(invalid("unknown order")),
        };
        let backend_pause = Duration::from_millis(short(6).into());
        Ok(Self {
            order,
            backend_pause,
            ..Self::new(long(8), long(16), long(24))
        })
    }
}

/// What one end saw of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Bytes and their SHA-256.
    pub digest: Digest,
    /// Offset of the first byte that was not the pattern's.
    pub first_wrong: Option<u64>,
    /// From the first byte to the last.
    pub elapsed: Duration,
    /// The longest time between two successive reads or writes that moved bytes.
    pub longest_stall: Duration,
}

/// What one end saw of a connection that ended in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it wrote.
    pub sent: Seen,
    /// What it read, to the end of the stream.
    pub received: Seen,
}

/// The client's part of `plan`, to the end of both directions. `patience` bounds every single
/// read and write.
pub fn client(stream: &TcpStream, plan: &Plan, patience: Duration) -> io::Result<Outcome> {
    set_patience(stream, patience)?;
    (&*stream).write_all(&plan.encode())?;
    client_behind_plan(stream, plan, patience)
}

/// The same where the plan itself went with the handshake.
pub fn client_behind_plan(
    stream: &TcpStream,
    plan: &Plan,
    patience: Duration,
) -> io::Result<Outcome> {
    set_patience(stream, patience)?;
    let mut up = Writer::new(stream, plan.up_pattern(), plan.up);
    let mut down = Reader::new(stream, plan.down_pattern());
    match plan.order {
        Order::Both => both(up, down, plan.client_pause),
        Order::ClientFirst => {
            let sent = up.run()?;
            thread::sleep(plan.client_pause);
            Ok(Outcome {
                sent,
                received: down.run()?,
            })
        }
        Order::BackendFirst => {
            thread::sleep(plan.client_pause);
            let received = down.run()?;
            Ok(Outcome {
                sent: up.run()?,
                received,
            })
        }
    }
}

/// The backend's part: reads the plan, does it, and returns it with the outcome. The error comes
/// with the plan, if that was read.
pub fn backend(
    stream: &TcpStream,
    patience: Duration,
) -> Result<(Plan, Outcome), (Option<Plan>, io::Error)> {
    let plan = read_plan(stream, patience).map_err(|e| (None, e))?;
    let outcome = answer(stream, &plan).map_err(|e| (Some(plan), e))?;
    Ok((plan, outcome))
}

fn read_plan(stream: &TcpStream, patience: Duration) -> io::Result<Plan> {
    set_patience(stream, patience)?;
    let mut bytes = [0; PLAN_LEN];
    (&*stream).read_exact(&mut bytes)?;
    Plan::decode(&bytes)
}

fn answer(stream: &TcpStream, plan: &Plan) -> io::Result<Outcome> {
    let mut up = Reader::new(stream, plan.up_pattern());
    let mut down = Writer::new(stream, plan.down_pattern(), plan.down);
    match plan.order {
        Order::Both => both(down, up, plan.backend_pause),
        Order::ClientFirst => {
            thread::sleep(plan.backend_pause);
            let received = up.run()?;
            Ok(Outcome {
                sent: down.run()?,
                received,
            })
        }
        Order::BackendFirst => {
            let sent = down.run()?;
            thread::sleep(plan.backend_pause);
            Ok(Outcome {
                sent,
                received: up.run()?,
            })
        }
    }
}

fn set_patience(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))
}

fn both(mut writer: Writer<'_>, mut reader: Reader<'_>, pause: Duration) -> io::Result<Outcome> {
    let stream = reader.stream;
    // One error ends both: whoever waits for the other direction learns it at once.
    let ending = |result: io::Result<Seen>| {
        result.inspect_err(|_| {
            // It may be closed already, which is as good.
            let _ = stream.shutdown(Shutdown::Both);
        })
    };
    thread::scope(|scope| {
        let sent = scope.spawn(move || ending(writer.run()));
        thread::sleep(pause);
        let received = ending(reader.run());
        let sent = sent.join().expect("the writer does not panic");
        Ok(Outcome {
            sent: sent?,
            received: received?,
        })
    })
}

/// Progress of one direction at one end.
struct Progress {
    tally: Tally,
    started: Option<Instant>,
    last: Option<Instant>,
    longest_stall: Duration,
}

impl Progress {
    fn new(pattern: Pattern) -> Self {
        Self {
            tally: Tally::new(pattern),
            started: None,
            last: None,
            longest_stall: Duration::ZERO,
        }
    }

    fn moved(&mut self, bytes: &[u8]) {
        let now = Instant::now();
        self.started.get_or_insert(now);
        if let Some(last) = self.last.replace(now) {
            self.longest_stall = self.longest_stall.max(now - last);
        }
        self.tally.update(bytes);
    }

    fn seen(&self) -> Seen {
        let elapsed = self.started.zip(self.last).map(|(start, end)| end - start);
        Seen {
            digest: self.tally.digest(),
            first_wrong: self.tally.first_wrong(),
            elapsed: elapsed.unwrap_or_default(),
            longest_stall: self.longest_stall,
        }
    }
}

/// Sends `len` bytes of a pattern and closes its half.
struct Writer<'a> {
    stream: &'a TcpStream,
    pattern: Pattern,
    len: u64,
    progress: Progress,
}

impl<'a> Writer<'a> {
    fn new(stream: &'a TcpStream, pattern: Pattern, len: u64) -> Self {
        Self {
            stream,
            pattern,
            len,
            progress: Progress::new(pattern),
        }
    }

    fn run(&mut self) -> io::Result<Seen> {
        let mut buffer = vec![0; CHUNK];
        let mut offset = 0;
        while offset < self.len {
            let chunk = &mut buffer[..(self.len - offset).min(CHUNK as u64) as usize];
            self.pattern.fill(offset, chunk);
            let mut left = &*chunk;
            while !left.is_empty() {
                let n = retry(|| self.stream.write(left)).map_err(|e| at("writing", offset, &e))?;
                self.progress.moved(&left[..n]);
                offset += n as u64;
                left = &left[n..];
            }
        }
        self.stream
            .shutdown(Shutdown::Write)
            .map_err(|e| at("closing", offset, &e))?;
        Ok(self.progress.seen())
    }
}

/// Reads a pattern to the end of the stream.
struct Reader<'a> {
    stream: &'a TcpStream,
    progress: Progress,
}

impl<'a> Reader<'a> {
    fn new(stream: &'a TcpStream, pattern: Pattern) -> Self {
        Self {
            stream,
            progress: Progress::new(pattern),
        }
    }

    fn run(&mut self) -> io::Result<Seen> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let offset = self.progress.tally.bytes();
            match retry(|| self.stream.read(&mut buffer)).map_err(|e| at("reading", offset, &e))? {
                0 => return Ok(self.progress.seen()),
                n => self.progress.moved(&buffer[..n]),
            }
        }
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn at(doing: &str, offset: u64, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{doing} at byte {offset}: {error}"))
}
