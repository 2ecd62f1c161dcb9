//! What is measured, by a client of Linux's.

use super::paths::{Paths, Second};
use super::servers::{ECHO, Kind, MESSAGE, PERIOD, RESPOND, RESPONSE, SOURCE, Server, Setup, TICK};
use anabranch_interop::socket::{self, Protocol};
use anabranch_sim::{Change, LinkConfig, Queue};
use anabranch_stack::Instant as Virtual;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);
/// From the start of the relays until the first path dies.
const DIES: Duration = Duration::from_millis(2500);
/// What is measured of it afterwards.
const AFTER: Duration = Duration::from_millis(2500);
const BIN: Duration = Duration::from_millis(100);

/// Figures by row.
type Figures = Vec<(&'static str, f64)>;

/// One thing to measure.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) run: fn(Setup<'_>, usize) -> io::Result<Figures>,
}

pub(crate) const ALL: &[Work] = &[
    Work {
        name: "messages",
        run: |setup, round| messages(setup, round, Second::Own),
    },
    Work {
        name: "messages-backup",
        run: |setup, round| messages(setup, round, Second::Backup),
    },
    Work {
        name: "echo-death",
        run: echo_death,
    },
    Work {
        name: "echo-death-announced",
        run: |setup, round| {
            echo_death(
                Setup {
                    announced: true,
                    ..setup
                },
                round,
            )
        },
    },
    Work {
        name: "echo-death-given-up",
        run: |setup, round| {
            let steer = "give-up=always";
            ours(setup, |ours| echo_death(Setup { steer, ..ours }, round))
        },
    },
    Work {
        name: "bulk-death",
        run: bulk_death,
    },
    Work {
        name: "tail-death",
        run: tail_death,
    },
    Work {
        name: "echo-idle",
        run: echo_idle,
    },
    Work {
        name: "echo-busy",
        run: echo_busy,
    },
    Work {
        name: "echo-busy-bbr",
        run: |setup, round| {
            let congestion = "bbr";
            echo_busy(
                Setup {
                    congestion,
                    ..setup
                },
                round,
            )
        },
    },
    Work {
        name: "goodput-50-20",
        run: |setup, round| {
            let links = [link(50.0, 10), link(20.0, 60)];
            goodput(setup, round, links, 70.0, GOODPUT_50)
        },
    },
    Work {
        name: "goodput-100-50",
        run: |setup, round| {
            let links = [link(100.0, 10), link(50.0, 10)];
            goodput(setup, round, links, 150.0, GOODPUT_100)
        },
    },
];

const MESSAGES: &str =
    "a message of the server every 10 ms, one of two equal paths dies: longest gap, ms";
const MESSAGES_BACKUP: &str = "the same, the second path a backup: longest gap, ms";
const ECHO_DEATH: &str =
    "a message of the client every 10 ms, echoed, one of two paths dies: longest gap, ms";
const ECHO_ANNOUNCED: &str = "the same, each path to an address of its own: longest gap, ms";
const ECHO_GIVEN_UP: &str = "the same, one address, `--steer give-up=always`: longest gap, ms";
const BULK_GAP: &str = "bulk, one of two paths dies: longest gap, ms";
const BULK_BACK: &str = "bulk, until three bins of 100 ms are back at 75 % of the other path, ms";
const TAIL: &str = "a response of 1 MB, the path with its end dies: how much later, ms";
const IDLE_50: &str = "echo every 10 ms over 20 ms and 120 ms: median, ms";
const IDLE_99: &str = "echo every 10 ms over 20 ms and 120 ms: 99 of 100, ms";
const BUSY_50: &str = "the same beside a bulk transfer: median, ms";
const BUSY_99: &str = "the same beside a bulk transfer: 99 of 100, ms";
const TCP_50: &str = "the same with TCP over the better path alone: median, ms";
const TCP_99: &str = "the same with TCP over the better path alone: 99 of 100, ms";
const BBR: [&str; 4] = [
    "beside a bulk transfer, both by BBR: median, ms",
    "beside a bulk transfer, both by BBR: 99 of 100, ms",
    "TCP over the better path alone beside TCP, both by BBR: median, ms",
    "TCP over the better path alone beside TCP, both by BBR: 99 of 100, ms",
];
const GOODPUT_50: &str = "goodput over 50 Mbit/s, 10 ms and 20 Mbit/s, 60 ms, of the sum";
const GOODPUT_100: &str = "goodput over 100 Mbit/s and 50 Mbit/s, 10 ms, of the sum";

/// In the order of the table, with the goals.
pub(crate) const ROWS: &[(&str, &str)] = &[
    (MESSAGES, "≤ 40"),
    (MESSAGES_BACKUP, "≤ 60"),
    (ECHO_DEATH, "≤ 40"),
    (ECHO_ANNOUNCED, "≤ 40"),
    (ECHO_GIVEN_UP, "≤ 40"),
    (BULK_GAP, "≤ 60"),
    (BULK_BACK, "≤ 200"),
    (TAIL, "≤ 100"),
    (IDLE_50, "20.5"),
    (IDLE_99, "31"),
    (BUSY_50, "better than TCP"),
    (BUSY_99, "better than TCP"),
    (TCP_50, "–"),
    (TCP_99, "–"),
    (BBR[0], "better than TCP"),
    (BBR[1], "better than TCP"),
    (BBR[2], "–"),
    (BBR[3], "–"),
    (GOODPUT_50, "≥ 0.94"),
    (GOODPUT_100, "≥ 0.94"),
];

/// A link of so many Mbit/s and so many ms of round trip, with 40 ms of queue.
fn link(mbit: f64, rtt_ms: u64) -> LinkConfig {
    let rate = (mbit * 1e6) as u64;
    LinkConfig {
        rate: Some(rate),
        delay: Duration::from_micros(rtt_ms * 500),
        queue: Queue::Bytes((rate / 200).max(30_000)),
        ..LinkConfig::new(1, 0)
    }
}

/// What is measured of our server alone.
fn ours<'a>(
    setup: Setup<'a>,
    run: impl FnOnce(Setup<'a>) -> io::Result<Figures>,
) -> io::Result<Figures> {
    match setup.kind {
        Kind::Anabranch => run(setup),
        Kind::Kernel => Ok(Figures::new()),
    }
}

/// Two equal paths of 100 Mbit/s and 0.1 ms, of which the first dies.
fn dying() -> [LinkConfig; 2] {
    let link = LinkConfig {
        delay: Duration::from_micros(50),
        ..link(100.0, 0)
    };
    let dies = Virtual(0) + DIES;
    let first = LinkConfig {
        schedule: vec![(dies, Change::Blackhole(true))],
        ..link.clone()
    };
    [first, link]
}

fn connect(paths: &Paths, protocol: Protocol, server: &Server, port: u16) -> io::Result<TcpStream> {
    let to = server.at(port);
    let stream = paths
        .client
        .run(|| socket::connect(protocol, None, to, PATIENCE))?;
    server.control(&stream)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A connection with both subflows.
fn joined(paths: &Paths, server: &Server, port: u16) -> io::Result<TcpStream> {
    let stream = connect(paths, Protocol::Mptcp, server, port)?;
    thread::sleep(Duration::from_millis(300));
    Ok(stream)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The longest time between two messages that arrive.
fn longest_gap(stream: &mut TcpStream, until: Instant) -> io::Result<f64> {
    let mut message = [0; MESSAGE];
    let (mut longest, mut last) = (Duration::ZERO, None);
    while Instant::now() < until {
        stream.read_exact(&mut message)?;
        let now = Instant::now();
        if let Some(last) = last {
            longest = longest.max(now - last);
        }
        last = Some(now);
    }
    Ok(ms(longest))
}

fn messages(setup: Setup<'_>, round: usize, second: Second) -> io::Result<Figures> {
    let paths = Paths::new(dying(), second, round as u64)?;
    let start = paths.started;
    let server = Server::start(&paths, setup)?;
    let mut stream = joined(&paths, &server, TICK)?;
    let gap = longest_gap(&mut stream, start + DIES + AFTER)?;
    let row = match second {
        Second::Backup => MESSAGES_BACKUP,
        _ => MESSAGES,
    };
    Ok(vec![(row, gap)])
}

/// Writes a message every 10 ms until the connection ends.
fn speak(stream: &TcpStream) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    thread::spawn(move || {
        let mut next = Instant::now();
        while writer.write_all(&[7; MESSAGE]).is_ok() {
            next += PERIOD;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    });
    Ok(())
}

fn echo_death(setup: Setup<'_>, round: usize) -> io::Result<Figures> {
    let second = match setup.announced {
        true => Second::Announced,
        false => Second::Own,
    };
    let paths = Paths::new(dying(), second, round as u64)?;
    let start = paths.started;
    let server = Server::start(&paths, setup)?;
    let mut stream = joined(&paths, &server, ECHO)?;
    speak(&stream)?;
    let gap = longest_gap(&mut stream, start + DIES + AFTER)?;
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let row = match (setup.announced, setup.steer.contains("always")) {
        (true, _) => ECHO_ANNOUNCED,
        (_, true) => ECHO_GIVEN_UP,
        _ => ECHO_DEATH,
    };
    Ok(vec![(row, gap)])
}

fn bulk_death(setup: Setup<'_>, round: usize) -> io::Result<Figures> {
    let paths = Paths::new(dying(), Second::Own, round as u64)?;
    let start = paths.started;
    let server = Server::start(&paths, setup)?;
    let mut stream = joined(&paths, &server, SOURCE)?;
    let (dies, end) = (start + DIES, start + DIES + AFTER);
    let mut buffer = vec![0; 64 << 10];
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    let mut bins = vec![0; (AFTER.as_millis() / BIN.as_millis()) as usize + 1];
    while last < end {
        let read = stream.read(&mut buffer)?;
        let now = Instant::now();
        if let Some(since) = now.checked_duration_since(dies) {
            longest = longest.max(now - last);
            let bin = (since.as_millis() / BIN.as_millis()) as usize;
            if let Some(bin) = bins.get_mut(bin) {
                *bin += read;
            }
        }
        last = now;
    }
    let enough = (0.75 * 100e6 / 8.0 * BIN.as_secs_f64() * 1420.0 / 1500.0) as usize;
    let back = bins
        .windows(3)
        .position(|it| it.iter().all(|bin| *bin >= enough));
    let back = back.map_or(ms(AFTER), |bins| bins as f64 * ms(BIN));
    Ok(vec![(BULK_GAP, ms(longest)), (BULK_BACK, back)])
}

/// Time until a response is complete, asked for at `at`.
fn respond(stream: &mut TcpStream, at: Instant) -> io::Result<Duration> {
    thread::sleep(at.saturating_duration_since(Instant::now()));
    let asked = Instant::now();
    stream.write_all(&[1])?;
    let mut rest = RESPONSE;
    let mut buffer = vec![0; 64 << 10];
    while rest > 0 {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => rest -= read.min(rest),
        }
    }
    Ok(asked.elapsed())
}

fn tail_death(setup: Setup<'_>, round: usize) -> io::Result<Figures> {
    let paths = Paths::new(dying(), Second::Own, round as u64)?;
    let start = paths.started;
    let server = Server::start(&paths, setup)?;
    let mut stream = joined(&paths, &server, RESPOND)?;
    let mut usual = Vec::new();
    for n in 0..5 {
        usual.push(ms(respond(
            &mut stream,
            start + Duration::from_millis(1000 + 200 * n),
        )?));
    }
    let usual = crate::report::median(usual);
    // The path dies when most of it has come.
    let before = Duration::from_secs_f64(usual * 0.8 / 1000.0);
    let late = respond(&mut stream, start + DIES - before)?;
    Ok(vec![(TAIL, (ms(late) - usual).max(0.0))])
}

/// Round trips of messages, in order of length.
fn echoes(stream: &mut TcpStream, time: Duration) -> io::Result<Vec<f64>> {
    let mut writer = stream.try_clone()?;
    let start = Instant::now();
    let count = (time.as_millis() / PERIOD.as_millis()) as u32;
    let speaker = thread::spawn(move || {
        for n in 0..count {
            thread::sleep((start + PERIOD * n).saturating_duration_since(Instant::now()));
            let sent = start.elapsed().as_nanos() as u64;
            let mut message = [0; MESSAGE];
            message[..8].copy_from_slice(&sent.to_le_bytes());
            if writer.write_all(&message).is_err() {
                return;
            }
        }
    });
    let mut all = Vec::new();
    let mut message = [0; MESSAGE];
    for _ in 0..count {
        stream.read_exact(&mut message)?;
        let mut sent = [0; 8];
        sent.copy_from_slice(&message[..8]);
        let sent = Duration::from_nanos(u64::from_le_bytes(sent));
        all.push(ms(start.elapsed() - sent));
    }
    let _ = speaker.join();
    all.sort_by(f64::total_cmp);
    Ok(all)
}

fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

fn unequal() -> [LinkConfig; 2] {
    [link(100.0, 20), link(100.0, 120)]
}

fn echo_idle(setup: Setup<'_>, round: usize) -> io::Result<Figures> {
    let paths = Paths::new(unequal(), Second::Own, round as u64)?;
    let server = Server::start(&paths, setup)?;
    let mut stream = joined(&paths, &server, ECHO)?;
    thread::sleep(Duration::from_millis(200));
    let all = echoes(&mut stream, Duration::from_secs(4))?;
    Ok(vec![
        (IDLE_50, quantile(&all, 0.5)),
        (IDLE_99, quantile(&all, 0.99)),
    ])
}

/// Reads without end.
fn drain(mut stream: TcpStream) {
    thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        while matches!(stream.read(&mut buffer), Ok(1..)) {}
    });
}

fn echo_busy(setup: Setup<'_>, round: usize) -> io::Result<Figures> {
    let mut figures = Figures::new();
    let rows = match setup.congestion {
        "bbr" => BBR,
        _ => [BUSY_50, BUSY_99, TCP_50, TCP_99],
    };
    let kinds = [Protocol::Mptcp, Protocol::Tcp];
    for (protocol, rows) in kinds.into_iter().zip(rows.chunks(2)) {
        let paths = Paths::new(unequal(), Second::Own, round as u64)?;
        let server = Server::start(&paths, setup)?;
        let bulk = connect(&paths, protocol, &server, SOURCE)?;
        let stop = bulk.try_clone()?;
        drain(bulk);
        thread::sleep(Duration::from_millis(1500));
        let mut stream = connect(&paths, protocol, &server, ECHO)?;
        thread::sleep(Duration::from_millis(500));
        let all = echoes(&mut stream, Duration::from_secs(4))?;
        let _ = stop.shutdown(std::net::Shutdown::Both);
        figures.push((rows[0], quantile(&all, 0.5)));
        figures.push((rows[1], quantile(&all, 0.99)));
    }
    Ok(figures)
}

fn goodput(
    setup: Setup<'_>,
    round: usize,
    links: [LinkConfig; 2],
    sum: f64,
    row: &'static str,
) -> io::Result<Figures> {
    let paths = Paths::new(links, Second::Own, round as u64)?;
    let server = Server::start(&paths, setup)?;
    let mut stream = connect(&paths, Protocol::Mptcp, &server, SOURCE)?;
    let start = Instant::now();
    let (from, to) = (
        start + Duration::from_secs(2),
        start + Duration::from_secs(6),
    );
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        let read = stream.read(&mut buffer)?;
        match Instant::now() {
            now if now > to => break,
            now if now > from => bytes += read,
            _ => {}
        }
    }
    let mbits = bytes as f64 * 8.0 / (to - from).as_secs_f64() / 1e6;
    Ok(vec![(row, mbits / sum)])
}
