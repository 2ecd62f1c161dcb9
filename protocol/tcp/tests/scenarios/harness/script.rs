//! One stream against a script: segments in and out as lines of text, numbers relative.
//!
//! A line is `flags start:end ack n` with tcpdump's flags (`S.`, `.`, `P.`, `F.`, `R`; `E` is ECE,
//! `W` CWR, `e` AE), then `ecn n` where the IP field is not 0, then for what goes in any of
//! `win n`, `sack a:b`, `val n`, `ecr n`, `mss n`, `ws n`, `sackok`, `gso n`, `fo=cookie`, `acc e0b:ceb`
//! and `signal`. Our SYN has number 0, and so has the peer's.

use super::pair::segmented;
use anabranch_tcp::budget::Budget;
use anabranch_tcp::config::Congestion;
use anabranch_tcp::{Config, Event, Instant, Segment, SocketOption, State, Stream, StreamConfig};
use anabranch_wire::Seq;
use anabranch_wire::tcp::{
    AccEcn, FastOpen, Flags, Options, SegmentOptions, SynOptions, Timestamps,
};
use std::time::Duration;

/// Initial sequence numbers, both about to wrap.
const ISS: Seq = Seq(u32::MAX - 2000);
const IRS: Seq = Seq(u32::MAX - 500);

pub(crate) struct Script {
    pub(crate) now: Instant,
    pub(crate) stream: Stream,
    /// Segments sent and not yet looked at, each with when it was sent.
    pub(crate) wire: Vec<(Instant, Segment)>,
    /// The last segment sent.
    pub(crate) last: Option<Segment>,
    start: Instant,
    /// Window of injected segments that name none.
    win: u16,
}

/// Segments of 1000 bytes, no scaling, no timestamps, a window of 60,000, no pacing: easy numbers.
pub(crate) fn plain() -> Config {
    let mut congestion = Congestion::default();
    congestion.pacing.window_based = false;
    congestion.pacing.unpaced_limit = None;
    Config {
        congestion,
        mss: 1000,
        recv_buffer: 60_000,
        window_scaling: false,
        timestamps: false,
        ..Config::default()
    }
}

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl Script {
    fn new(stream: Stream, now: Instant) -> Script {
        let mut script = Script {
            now,
            stream,
            wire: vec![],
            last: None,
            start: now,
            win: 60_000,
        };
        script.drain();
        script
    }

    fn config(tcp: &Config) -> StreamConfig {
        StreamConfig {
            tcp: tcp.clone(),
            send_buffer: 1 << 20,
            gso_max: 0,
            budget: Budget::unlimited(),
        }
    }

    /// SYN sent.
    pub(crate) fn connecting(tcp: &Config) -> Script {
        let now = Instant(1_000_000_000);
        Script::new(Stream::connect(now, &Script::config(tcp), ISS, 5000), now)
    }

    /// SYN sent with Fast Open, for which this much was written before.
    pub(crate) fn connecting_fast(tcp: &Config, cookie: &str, mss: u16, bytes: usize) -> Script {
        let now = Instant(1_000_000_000);
        let mut stream = Stream::connect(now, &Script::config(tcp), ISS, 5000);
        stream.set_fast_open(fast_open(cookie), mss);
        assert_eq!(stream.send(vec![b'y'; bytes].into()), bytes);
        Script::new(stream, now)
    }

    /// A SYN came, its payload was taken, and SYN+ACK sent.
    pub(crate) fn accepting_fast(tcp: &Config, syn: &str) -> Script {
        let now = Instant(1_000_000_000);
        let syn = parse(syn, 60_000);
        let mut stream = Stream::accept(now, &Script::config(tcp), &syn, ISS, 5000);
        stream.take_syn_payload(now, &syn, vec![b'x'; syn.len as usize].into());
        Script::new(stream, now)
    }

    /// A SYN came, the SYN+ACK grants a cookie.
    pub(crate) fn granting(tcp: &Config, syn: &str, cookie: &str) -> Script {
        let now = Instant(1_000_000_000);
        let syn = parse(syn, 60_000);
        let mut stream = Stream::accept(now, &Script::config(tcp), &syn, ISS, 5000);
        stream.grant_fast_open(fast_open(cookie));
        Script::new(stream, now)
    }

    /// Such a SYN came some time ago, and nothing was kept of it.
    pub(crate) fn resumed(tcp: &Config, syn: &str) -> Script {
        let now = Instant(1_000_000_000);
        let syn = parse(syn, 60_000);
        let stream = Stream::resume(now, &Script::config(tcp), &syn, ISS, 5000);
        Script::new(stream, now)
    }

    /// A SYN came, SYN+ACK sent.
    pub(crate) fn accepting(tcp: &Config, syn: &str) -> Script {
        Script::accepting_with(&Script::config(tcp), syn)
    }

    pub(crate) fn accepting_with(config: &StreamConfig, syn: &str) -> Script {
        let now = Instant(1_000_000_000);
        let syn = parse(syn, 60_000);
        Script::new(Stream::accept(now, config, &syn, ISS, 5000), now)
    }

    /// Opened by the peer with a round-trip time of 100 ms.
    pub(crate) fn open(tcp: &Config) -> Script {
        Script::open_with(&Script::config(tcp))
    }

    pub(crate) fn open_with(config: &StreamConfig) -> Script {
        let sack = if config.tcp.sack { " sackok" } else { "" };
        let mut script = Script::accepting_with(config, &format!("S 0:0 mss 1000{sack}"));
        assert_eq!(script.sent(), ["S. 0:0 ack 1"]);
        script.wait(ms(100));
        script.inject(". 1:1 ack 1");
        assert_eq!(script.state(), State::Established);
        assert_eq!(script.events(), [Event::Established]);
        script
    }

    /// Time passes; timers act when they are due.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.stream.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.stream.on_deadline(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// Time passes until the next segment leaves: how long that took.
    pub(crate) fn wait_for_segment(&mut self) -> Duration {
        let start = self.now;
        self.wire.clear();
        while self.wire.is_empty() {
            let due = self.stream.deadline().expect("a timer");
            self.now = self.now.max(due);
            self.stream.on_deadline(self.now);
            self.drain();
        }
        self.now.since(start)
    }

    /// A segment arrives.
    pub(crate) fn inject(&mut self, line: &str) {
        let segment = parse(line, self.win);
        self.win = segment.wnd;
        self.inject_bytes(line, b'x');
    }

    /// A segment arrives whose payload is all `byte`.
    pub(crate) fn inject_bytes(&mut self, line: &str, byte: u8) {
        let segment = parse(line, self.win);
        let payload = vec![byte; segment.len as usize];
        self.stream.on_segment(self.now, &segment, payload.into());
        self.drain();
    }

    /// The application reads all there is: the bytes.
    pub(crate) fn read_bytes(&mut self) -> Vec<u8> {
        let mut bytes = vec![];
        while let Some(more) = self.stream.recv(self.now, usize::MAX) {
            bytes.extend_from_slice(&more);
        }
        self.drain();
        bytes
    }

    /// The application writes.
    pub(crate) fn write(&mut self, bytes: usize) {
        assert_eq!(self.stream.send(vec![b'y'; bytes].into()), bytes);
        self.drain();
    }

    /// The application writes and says that more follows.
    pub(crate) fn write_more(&mut self, bytes: usize) {
        assert_eq!(self.stream.send_with(vec![b'y'; bytes].into(), true), bytes);
        self.drain();
    }

    /// The application sets an option.
    pub(crate) fn set(&mut self, option: SocketOption) {
        let set = self.stream.set_option(self.now, &option);
        assert_eq!(set, Ok(()), "{option:?}");
        self.drain();
    }

    /// The application reads: how many bytes there were, `max` at most.
    pub(crate) fn read(&mut self, max: usize) -> usize {
        let mut total = 0;
        while total < max
            && let Some(bytes) = self.stream.recv(self.now, max - total)
        {
            total += bytes.len();
        }
        self.drain();
        total
    }

    pub(crate) fn shutdown(&mut self) {
        self.stream.shutdown();
        self.drain();
    }

    /// The application lets go.
    pub(crate) fn close(&mut self) {
        self.stream.close();
        self.drain();
    }

    /// Whether a SYN may start a new connection in place of this one.
    pub(crate) fn may_reuse(&self, line: &str) -> bool {
        self.stream.tcb().may_reuse(&parse(line, 60_000))
    }

    pub(crate) fn drain(&mut self) {
        while let Some((emit, payload)) = self.stream.poll_transmit(self.now) {
            let bytes: Vec<u8> = payload.iter().flatten().copied().collect();
            for (segment, _) in segmented(&emit, bytes.into()) {
                self.last = Some(segment.clone());
                self.wire.push((self.now, segment));
            }
        }
    }

    /// What was sent since the last look.
    pub(crate) fn sent(&mut self) -> Vec<String> {
        self.wire
            .drain(..)
            .map(|(_, segment)| line(&segment))
            .collect()
    }

    /// The same with milliseconds since the start in front.
    pub(crate) fn sent_at(&mut self) -> Vec<String> {
        let start = self.start;
        let timed = |(at, segment): (Instant, Segment)| {
            format!("{} {}", at.since(start).as_millis(), line(&segment))
        };
        self.wire.drain(..).map(timed).collect()
    }

    /// Window field of the last segment sent.
    pub(crate) fn window(&self) -> u16 {
        self.last.as_ref().expect("a segment").wnd
    }

    /// Timestamps of the last segment sent.
    pub(crate) fn stamps(&self) -> Option<Timestamps> {
        match &self.last.as_ref().expect("a segment").options {
            Options::Syn(options) => options.timestamps,
            Options::Segment(options) => options.timestamps,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.stream.tcb().state()
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.stream.poll_event()).collect()
    }
}

fn line(segment: &Segment) -> String {
    let flags: String = [
        (Flags::SYN, 'S'),
        (Flags::FIN, 'F'),
        (Flags::RST, 'R'),
        (Flags::PSH, 'P'),
        (Flags::URG, 'U'),
        (Flags::ECE, 'E'),
        (Flags::CWR, 'W'),
        (Flags::AE, 'e'),
        (Flags::ACK, '.'),
    ]
    .iter()
    .filter(|(flag, _)| segment.flags.has(*flag))
    .map(|(_, name)| *name)
    .collect();
    let start = segment.seq.since(ISS);
    let mut text = format!("{flags} {start}:{}", start + segment.len as i32);
    if segment.flags.has(Flags::ACK) {
        text += &format!(" ack {}", segment.ack.since(IRS));
    }
    if segment.ecn != 0 {
        text += &format!(" ecn {}", segment.ecn);
    }
    if let Options::Syn(options) = &segment.options
        && let Some(fast_open) = &options.fast_open
    {
        text += if fast_open.experimental {
            " fox "
        } else {
            " fo "
        };
        text += &fast_open
            .cookie
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<String>();
    }
    if let Options::Segment(options) = &segment.options {
        for (left, right) in &options.sack {
            text += &format!(" sack {}:{}", left.since(IRS), right.since(IRS));
        }
        if let Some(option) = &options.acc_ecn {
            let fields = [option.e0b, option.ceb, option.e1b];
            let fields: Vec<String> = fields.iter().flatten().map(u32::to_string).collect();
            text += &format!(" acc {}", fields.join(":"));
        }
    }
    text
}

/// A Fast Open option with a cookie in hexadecimal; `x` in front makes it experimental.
fn fast_open(cookie: &str) -> FastOpen {
    let (experimental, hex) = match cookie.strip_prefix('x') {
        Some(hex) => (true, hex),
        None => (false, cookie),
    };
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    FastOpen {
        cookie: (0..hex.len()).step_by(2).map(byte).collect(),
        experimental,
    }
}

fn parse(line: &str, win: u16) -> Segment {
    let mut words = line.split_whitespace();
    let flags = words.next().expect("flags");
    let bits = [
        ('S', Flags::SYN),
        ('F', Flags::FIN),
        ('R', Flags::RST),
        ('P', Flags::PSH),
        ('U', Flags::URG),
        ('E', Flags::ECE),
        ('W', Flags::CWR),
        ('e', Flags::AE),
        ('.', Flags::ACK),
    ];
    let flags = bits
        .iter()
        .filter(|(c, _)| flags.contains(*c))
        .fold(Flags(0), |a, (_, b)| a.with(*b));
    let pair = |word: &str| -> (u32, u32) {
        let (a, b) = word.split_once(':').unwrap_or((word, word));
        let number = |n: &str| n.parse::<i64>().expect("a number") as u32;
        (number(a), number(b))
    };
    let (start, end) = pair(words.next().expect("sequence numbers"));
    let (mut syn, mut options) = (SynOptions::default(), SegmentOptions::default());
    let mut segment = Segment {
        seq: IRS + start,
        ack: Seq(0),
        wnd: win,
        flags,
        len: end.wrapping_sub(start),
        gso_size: 0,
        options: Options::Segment(SegmentOptions::default()),
        ecn: 0,
        signal_only: false,
    };
    let mut stamps = None;
    while let Some(word) = words.next() {
        if word == "sackok" {
            syn.sack_permitted = true;
            continue;
        }
        if let Some(cookie) = word.strip_prefix("fo=") {
            syn.fast_open = Some(fast_open(cookie));
            continue;
        }
        if word == "signal" {
            segment.signal_only = true;
            continue;
        }
        let value = pair(words.next().expect("a value"));
        match word {
            "ack" => segment.ack = ISS + value.0,
            "win" => segment.wnd = value.0 as u16,
            "sack" => options.sack.push((ISS + value.0, ISS + value.1)),
            "val" => stamps.get_or_insert(Timestamps::default()).val = value.0,
            "ecr" => stamps.get_or_insert(Timestamps::default()).ecr = value.0,
            "mss" => syn.mss = Some(value.0 as u16),
            "ws" => syn.window_scale = Some(value.0 as u8),
            "acc" => {
                options.acc_ecn = Some(AccEcn {
                    e0b: Some(value.0),
                    ceb: Some(value.1),
                    ..AccEcn::default()
                });
            }
            "ecn" => segment.ecn = value.0 as u8,
            "gso" => segment.gso_size = value.0 as u16,
            _ => panic!("unknown word {word}"),
        }
    }
    (syn.timestamps, options.timestamps) = (stamps, stamps);
    let is_syn = flags.has(Flags::SYN);
    segment.options = if is_syn {
        Options::Syn(syn)
    } else {
        Options::Segment(options)
    };
    segment
}
