//! A host of several stacks: whatever stack a packet reaches, its connection gets it.

use crate::pair::{DELAY, PORT, addr, pattern};
use anabranch_stack::{
    Config, ConnectConfig, Counter, Event, FlowId, Instant, ListenConfig, ListenerId, PathEvent,
    Protocol, Recv, Shard, Stack, SubflowId, SynCookies,
};
use anabranch_wire::Packet;
use anabranch_wire::Seq;
use anabranch_wire::frame::{Frame, Transmit};
use anabranch_wire::icmp;
use anabranch_wire::mptcp::{Join, MptcpOption};
use anabranch_wire::packet::Build;
use anabranch_wire::tcp::{Class, Flags, Options};
use bytes::Bytes;
use smallvec::smallvec;
use std::collections::VecDeque;
use std::time::Duration;

/// Which stack of the host a packet reaches first.
type Steer = Box<dyn FnMut(&Packet) -> Vec<usize>>;

/// A client of one stack, a host of several, and the wire between them.
struct Cluster {
    now: Instant,
    client: Stack,
    shards: Vec<Stack>,
    listeners: Vec<ListenerId>,
    steer: Steer,
    /// Whether a stray arrives, by its number.
    passes: Box<dyn FnMut(u64) -> bool>,
    strays: u64,
    wire: VecDeque<(Instant, Option<usize>, Frame)>,
    log: Vec<Bytes>,
    events: Vec<(usize, Event)>,
}

impl Cluster {
    fn new(count: usize, config: Config) -> Cluster {
        let now = Instant(1_000_000_000);
        let mut shards: Vec<_> = (0..count)
            .map(|index| {
                let shard = Shard::new(index, count).expect("an index");
                let config = Config {
                    shard,
                    ..config.clone()
                };
                Stack::new(config, [2; 32], now)
            })
            .collect();
        let listen = |stack: &mut Stack| stack.listen(ListenConfig::port(PORT)).expect("free");
        Cluster {
            now,
            client: Stack::new(Config::default(), [1; 32], now),
            listeners: shards.iter_mut().map(listen).collect(),
            shards,
            steer: Box::new(|_| vec![0]),
            passes: Box::new(|_| true),
            strays: 0,
            wire: VecDeque::new(),
            log: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Packets of the client reach the stack that this says.
    fn steer(&mut self, steer: impl FnMut(&Packet) -> usize + 'static) {
        let mut steer = steer;
        self.steer = Box::new(move |packet| vec![steer(packet)]);
    }

    fn send(&mut self, from: Option<usize>, transmit: &Transmit) {
        for packet in transmit.packets() {
            let bytes = packet.to_bytes();
            self.log.push(bytes.clone());
            let to = match from {
                Some(_) => vec![None],
                None => {
                    let parsed = Packet::parse(&bytes).expect("a packet of ours");
                    (self.steer)(&parsed).into_iter().map(Some).collect()
                }
            };
            for (copy, to) in (0..).zip(to) {
                let frame = Frame::packet(bytes.clone());
                let late = Duration::from_millis(1) * copy;
                self.wire.push_back((self.now + DELAY + late, to, frame));
            }
        }
    }

    /// Gives strays to their stacks until there are none.
    fn cross(&mut self) {
        let now = self.now;
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for from in 0..self.shards.len() {
                while let Some((to, stray)) = self.shards[from].poll_stray() {
                    moved = true;
                    self.strays += 1;
                    if (self.passes)(self.strays) {
                        self.shards[to].receive_stray(now, stray);
                    } else {
                        self.shards[from].lose_stray();
                    }
                }
            }
        }
    }

    fn settle(&mut self) {
        let now = self.now;
        self.cross();
        while let Some(transmit) = self.client.poll_transmit(now) {
            self.send(None, &transmit);
        }
        while let Some(event) = self.client.poll_event() {
            self.events.push((usize::MAX, event));
        }
        for index in 0..self.shards.len() {
            while let Some(transmit) = self.shards[index].poll_transmit(now) {
                self.send(Some(index), &transmit);
            }
            while let Some(event) = self.shards[index].poll_event() {
                self.events.push((index, event));
            }
        }
    }

    fn step(&mut self, end: Instant) -> bool {
        self.settle();
        let arrival = self.wire.front().map(|(at, ..)| *at);
        let stacks = std::iter::once(&self.client).chain(&self.shards);
        let timers = stacks.filter_map(Stack::deadline);
        let Some(next) = timers.chain(arrival).min().filter(|next| *next <= end) else {
            return false;
        };
        self.now = self.now.max(next);
        let now = self.now;
        while let Some((_, to, frame)) = self.wire.pop_front_if(|(at, ..)| *at <= now) {
            match to {
                Some(index) => self.shards[index].receive(now, frame),
                None => self.client.receive(now, frame),
            }
        }
        let stacks = std::iter::once(&mut self.client).chain(&mut self.shards);
        for stack in stacks.filter(|s| s.deadline().is_some_and(|at| at <= now)) {
            stack.on_deadline(now);
        }
        true
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
        self.settle();
    }

    fn run_until(&mut self, what: &str, mut holds: impl FnMut(&mut Cluster) -> bool) {
        let end = self.now + Duration::from_secs(120);
        loop {
            self.settle();
            if holds(self) {
                return;
            }
            assert!(self.step(end), "never: {what}");
        }
    }

    fn open(&mut self, local: &str, remote: &str) -> FlowId {
        let config = ConnectConfig::default();
        self.client
            .connect(self.now, addr(local), addr(remote), config)
            .expect("a connection")
    }

    /// A connection of the client, established, and where and what it is at the host.
    fn connect(&mut self, local: &str) -> (FlowId, usize, FlowId) {
        let client = self.open(local, "10.0.0.2:80");
        let mut found = None;
        self.run_until("accepted", |cluster| {
            for (index, listener) in cluster.listeners.iter().enumerate() {
                let accepted = cluster.shards[index].accept(*listener);
                found = found.or(accepted.map(|id| (index, id)));
            }
            found.is_some()
        });
        self.run_until("established", |cluster| {
            let established = (usize::MAX, Event::Established(client));
            cluster.events.contains(&established)
        });
        let (index, id) = found.expect("accepted");
        (client, index, id)
    }

    fn join(&mut self, client: FlowId, local: &str, remote: &str) {
        let (local, remote) = (addr(local), addr(remote));
        self.client
            .join(self.now, client, local, remote, false)
            .expect("a subflow");
    }

    /// Client to host; what arrives must be equal.
    fn transfer(&mut self, client: FlowId, (index, id): (usize, FlowId), data: &Bytes) {
        let (mut rest, mut got) = (data.clone(), Vec::new());
        self.run_until("everything arrived", |cluster| {
            let now = cluster.now;
            if !rest.is_empty() {
                let taken = cluster.client.send(now, client, rest.clone());
                rest = rest.slice(taken.expect("open")..);
            }
            while let Ok(Recv::Data(bytes)) = cluster.shards[index].recv(now, id, 1 << 20) {
                got.extend_from_slice(&bytes);
            }
            cluster.settle();
            got.len() >= data.len()
        });
        assert!(got == data[..], "{} bytes arrived differently", data.len());
    }

    fn count(&self, counter: Counter) -> u64 {
        self.shards.iter().map(|s| s.counters().get(counter)).sum()
    }

    fn token(&self, (index, id): (usize, FlowId)) -> u32 {
        match self.shards[index].info(id).expect("there").protocol {
            Protocol::Mptcp(info) => info.local_token,
            Protocol::Tcp => panic!("plain TCP"),
        }
    }
}

fn cookies() -> Config {
    Config {
        syn_cookies: SynCookies::Always,
        ..Config::default()
    }
}

/// A segment from a stranger.
fn segment(flags: Flags, seq: u32, ack: u32, mptcp: &[MptcpOption]) -> Bytes {
    let build = Build {
        src: addr("10.0.9.1:1000"),
        dst: addr("10.0.0.2:80"),
        ttl: 64,
        traffic_class: 0,
        ident: 0,
        seq: Seq(seq),
        ack: Seq(ack),
        flags,
        window: 1000,
        urgent: 0,
        options: &Options::empty(Class::of(flags)),
        mptcp,
    };
    let packet = build.transmit(smallvec![], 0).expect("a packet");
    packet.packets().next().expect("one packet").to_bytes()
}

#[test]
fn tokens_name_the_stack_also_those_of_cookies() {
    for config in [Config::default(), cookies()] {
        for count in [2, 3, 8] {
            let mut cluster = Cluster::new(count, config.clone());
            cluster.steer(move |packet| usize::from(packet.src.port()) % count);
            for port in 4000..4000 + 2 * count {
                let (_, index, id) = cluster.connect(&format!("10.0.0.1:{port}"));
                assert_eq!(index, port % count, "a SYN stays where it came");
                let token = cluster.token((index, id));
                assert_eq!(token as usize % count, index);
            }
            assert_eq!(cluster.strays, 0);
        }
    }
}

#[test]
fn a_join_finds_its_connection_wherever_it_comes() {
    for home in 0..4 {
        let mut cluster = Cluster::new(4, Config::default());
        cluster.steer(move |packet| match packet.src.ip().is_ipv4() {
            true if packet.src.port() == 4000 => home,
            // A device that never learns where a flow belongs.
            _ => (home + 1) % 4,
        });
        let (client, index, id) = cluster.connect("10.0.0.1:4000");
        cluster.join(client, "10.0.5.1:4001", "10.0.5.2:12345");
        cluster.join(client, "[fd00::1]:4002", "[fd00::2]:80");
        for subflow in [1, 2] {
            let up = Event::Path(id, PathEvent::SubflowUp(SubflowId(subflow)));
            let up = (home, up);
            cluster.run_until("subflows are up", |c| c.events.contains(&up));
        }
        cluster.transfer(client, (index, id), &pattern(400_000));
        let used = cluster.shards[home].info(id).expect("there").subflows;
        let bytes: Vec<_> = used.iter().map(|s| s.tcp.stats.bytes_in).collect();
        assert!(bytes.iter().all(|n| *n > 10_000), "{bytes:?}");
        assert_eq!(cluster.count(Counter::TcpOutRsts), 0);
        assert_eq!(
            cluster.count(Counter::StraysSent),
            cluster.count(Counter::StraysReceived)
        );
        // Two SYNs by their token; what follows them from one stack to the next.
        let first = (home + 1) % 4;
        assert!(cluster.shards[first].counters().get(Counter::StraysSent) > 100);
    }
}

#[test]
fn a_join_whose_token_nobody_has_is_refused_where_it_would_be() {
    for (token, strays) in [(1000, 1), (1001, 0)] {
        let mut cluster = Cluster::new(2, Config::default());
        let join = MptcpOption::Join(Join::Syn {
            backup: false,
            address_id: 1,
            token,
            nonce: 99,
        });
        let (now, packet) = (cluster.now, segment(Flags::SYN, 1, 0, &[join]));
        cluster.shards[1].receive(now, Frame::packet(packet));
        cluster.settle();
        let home = cluster.shards[token as usize % 2].counters();
        assert_eq!(home.get(Counter::MPTcpExtMPJoinNoTokenFound), 1);
        assert_eq!(cluster.count(Counter::TcpOutRsts), 1);
        assert_eq!(cluster.strays, strays);
    }
}

#[test]
fn strays_that_are_lost_are_lost_as_on_the_wire() {
    let mut cluster = Cluster::new(2, Config::default());
    // All but the first SYN comes to the wrong stack.
    cluster.steer(|packet| usize::from(!packet.flags.has(Flags::SYN)));
    cluster.passes = Box::new(|number| number % 20 != 7);
    let (client, index, id) = cluster.connect("10.0.0.1:4000");
    cluster.transfer(client, (index, id), &pattern(1_000_000));
    let dropped = cluster.count(Counter::StraysDropped);
    assert!(dropped > 20, "{dropped}");
}

#[test]
fn a_segment_of_no_connection_is_refused_once_and_by_the_last_that_saw_it() {
    let mut cluster = Cluster::new(5, cookies());
    // So that cookies are out.
    cluster.connect("10.0.0.1:4000");
    let (now, before) = (cluster.now, cluster.log.len());
    let packet = Frame::packet(segment(Flags::ACK, 1, 2, &[]));
    cluster.shards[2].receive(now, packet);
    cluster.settle();
    let [reset] = &cluster.log[before..] else {
        panic!("one answer, not {}", cluster.log.len() - before)
    };
    let reset = Packet::parse_verified(reset).expect("a packet");
    assert!(reset.flags.has(Flags::RST) && reset.seq == Seq(2));
    assert_eq!(cluster.strays, 4);
    for (index, shard) in cluster.shards.iter().enumerate() {
        let counters = shard.counters();
        let last = u64::from(index == 1);
        assert_eq!(counters.get(Counter::TcpOutRsts), last, "{index}");
    }
    assert_eq!(cluster.count(Counter::TcpInSegs), 2 + 1);
}

#[test]
fn a_cookie_comes_back_to_the_stack_that_made_it() {
    for mptcp in [false, true] {
        let mut cluster = Cluster::new(3, cookies());
        cluster.steer(|packet| if packet.flags.has(Flags::SYN) { 1 } else { 2 });
        let config = ConnectConfig {
            mptcp,
            ..ConnectConfig::default()
        };
        let (local, remote) = (addr("10.0.0.1:4000"), addr("10.0.0.2:80"));
        let now = cluster.now;
        let client = cluster.client.connect(now, local, remote, config);
        cluster.run(Duration::from_millis(100));
        let id = cluster.shards[1].accept(cluster.listeners[1]);
        let id = id.expect("accepted by the one that answered the SYN");
        assert_eq!(cluster.count(Counter::TcpExtSyncookiesRecv), 1);
        assert_eq!(cluster.count(Counter::TcpExtSyncookiesFailed), 0);
        cluster.transfer(client.unwrap(), (1, id), &pattern(50_000));
        let mptcp_here = cluster.shards[1].info(id).unwrap().protocol != Protocol::Tcp;
        assert_eq!(mptcp_here, mptcp);
    }
}

#[test]
fn a_syn_answered_by_two_stacks_makes_one_connection() {
    let mut cluster = Cluster::new(2, Config::default());
    // The SYN reaches both, what follows only the one whose answer the client did not take.
    cluster.steer = Box::new(|packet| match packet.flags.has(Flags::SYN) {
        true => vec![0, 1],
        false => vec![1],
    });
    let (client, index, id) = cluster.connect("10.0.0.1:4000");
    assert_eq!(index, 0, "its answer came first");
    cluster.transfer(client, (index, id), &pattern(200_000));
    assert_eq!(cluster.count(Counter::TcpOutRsts), 0);
    assert_eq!(cluster.shards[1].accept(cluster.listeners[1]), None);
}

#[test]
fn ports_picked_by_different_stacks_differ_and_answers_take_one_step() {
    let mut cluster = Cluster::new(4, Config::default());
    let listener = cluster.client.listen(ListenConfig::port(PORT)).unwrap();
    // Every answer comes to stack 0.
    let now = cluster.now;
    for round in 0..8 {
        for index in 0..4 {
            let (local, remote) = (addr("10.0.0.2:0"), addr("10.0.0.1:80"));
            let config = ConnectConfig::default();
            let id = cluster.shards[index].connect(now, local, remote, config);
            let port = cluster.shards[index]
                .info(id.unwrap())
                .unwrap()
                .local
                .port();
            assert_eq!(usize::from(port) % 4, index, "{round}");
        }
    }
    cluster.run(Duration::from_millis(100));
    let accepted = std::iter::from_fn(|| cluster.client.accept(listener)).count();
    assert_eq!(accepted, 32);
    // A SYN+ACK each for the three others.
    assert_eq!(cluster.strays, 24);
}

#[test]
fn an_icmp_error_reaches_the_stack_of_its_connection() {
    let mut cluster = Cluster::new(3, Config::default());
    cluster.steer(|_| 1);
    let (_, index, id) = cluster.connect("10.0.0.1:4000");
    assert_eq!(index, 1);
    let now = cluster.now;
    let data = pattern(1000);
    cluster.shards[1].send(now, id, data).expect("open");
    let sent = cluster.shards[1].poll_transmit(now).expect("a segment");
    let quoted = sent.packets().next().expect("one").to_bytes();
    let router = addr("10.0.0.9:0").ip();
    let error = icmp::packet_too_big(router, &quoted, 1300);
    let error = error.expect("an error").to_frame();
    cluster.shards[2].receive(now, error);
    cluster.settle();
    let mss = |cluster: &Cluster| cluster.shards[1].tcb(id).expect("there").path_mss();
    assert_eq!(mss(&cluster), 1260);
    assert_eq!(cluster.count(Counter::IcmpInMsgs), 1);
    assert_eq!(cluster.count(Counter::IcmpInErrors), 0);
    // One about no connection: all look, one counts.
    let stranger = segment(Flags::ACK, 1, 2, &[]);
    let error = icmp::packet_too_big(router, &stranger, 1300);
    cluster.shards[0].receive(now, error.expect("an error").to_frame());
    cluster.settle();
    assert_eq!(cluster.count(Counter::IcmpInErrors), 1);
}

#[test]
fn a_fast_open_cookie_is_good_at_every_stack() {
    let mut cluster = Cluster::new(2, Config::default());
    for index in 0..2 {
        let now = cluster.now;
        let stack = &mut cluster.shards[index];
        stack.close_listener(now, cluster.listeners[index]);
        let config = ListenConfig {
            fast_open: Some(16),
            ..ListenConfig::port(PORT)
        };
        cluster.listeners[index] = stack.listen(config).unwrap();
    }
    cluster.steer(|packet| usize::from(packet.src.port()) % 2);
    for (number, port) in [4000, 4001, 4003].into_iter().enumerate() {
        if number == 2 {
            // Keys change by themselves; those of all stacks alike.
            cluster.now = cluster.now + Duration::from_secs(30 * 3600);
        }
        let config = ConnectConfig {
            fast_open: true,
            ..ConnectConfig::default()
        };
        let (local, remote) = ((([10, 0, 0, 1]), port).into(), addr("10.0.0.2:80"));
        let now = cluster.now;
        let id = cluster.client.connect(now, local, remote, config).unwrap();
        cluster.client.send(now, id, pattern(100)).unwrap();
        cluster.run(Duration::from_millis(100));
        let taken = cluster.count(Counter::TcpExtTCPFastOpenPassive);
        assert_eq!(taken, number as u64, "the first one asks for a cookie");
    }
    assert_eq!(cluster.count(Counter::TcpExtTCPFastOpenPassiveFail), 0);
}

#[test]
fn one_stack_alone_has_no_strays() {
    let mut cluster = Cluster::new(1, cookies());
    cluster.connect("10.0.0.1:4000");
    let (now, packet) = (cluster.now, Frame::packet(segment(Flags::ACK, 1, 2, &[])));
    cluster.shards[0].receive(now, packet);
    assert!(cluster.shards[0].poll_stray().is_none());
    assert_eq!(cluster.count(Counter::StraysSent), 0);
}

#[test]
fn stacks_that_are_no_more_are_passed_over() {
    let mut cluster = Cluster::new(3, Config::default());
    cluster.steer(|_| 2);
    let (client, index, id) = cluster.connect("10.0.0.1:4000");
    let now = cluster.now;
    // Number 1 is gone when a segment of the connection comes to number 0.
    cluster
        .client
        .send(now, client, pattern(100))
        .expect("open");
    let sent = cluster.client.poll_transmit(now).expect("a segment");
    cluster.shards[0].receive(now, sent.to_frame());
    let (to, stray) = cluster.shards[0].poll_stray().expect("a stray");
    assert_eq!(to, 1);
    cluster.shards[0].take_back_stray(now, to, stray);
    let (to, stray) = cluster.shards[0].poll_stray().expect("a stray");
    assert_eq!(to, 2);
    cluster.shards[2].receive_stray(now, stray);
    let read = cluster.shards[index].recv(now, id, 1000);
    assert_eq!(read, Ok(Recv::Data(pattern(100))));
    // A join to a connection that was there is refused by whom it came to.
    let join = MptcpOption::Join(Join::Syn {
        backup: false,
        address_id: 1,
        token: 1,
        nonce: 99,
    });
    let packet = segment(Flags::SYN, 1, 0, &[join]);
    cluster.shards[0].receive(now, Frame::packet(packet));
    let (to, stray) = cluster.shards[0].poll_stray().expect("a stray");
    cluster.shards[0].take_back_stray(now, to, stray);
    assert!(cluster.shards[0].poll_stray().is_none());
    let refused = cluster.shards[0].counters().get(Counter::TcpOutRsts);
    assert_eq!(refused, 1);
}

#[test]
fn strays_that_nobody_takes_do_not_pile_up() {
    let mut stack = Stack::new(
        Config {
            shard: Shard::new(0, 2).unwrap(),
            ..Config::default()
        },
        [3; 32],
        Instant(0),
    );
    for ack in 0..5000 {
        let packet = Frame::packet(segment(Flags::ACK, 1, ack, &[]));
        stack.receive(Instant(0), packet);
    }
    let kept = std::iter::from_fn(|| stack.poll_stray()).count() as u64;
    let counters = stack.counters();
    assert_eq!(kept, counters.get(Counter::StraysSent));
    assert_eq!(kept + counters.get(Counter::StraysDropped), 5000);
    assert!(kept <= 1024);
}

#[test]
fn the_same_seed_gives_the_same_packets_and_keys_differ_from_stack_to_stack() {
    let session = || {
        let mut cluster = Cluster::new(3, Config::default());
        cluster.steer(|packet| usize::from(packet.src.port()) % 3);
        let mut tokens = Vec::new();
        for port in 4000..4009 {
            let (client, index, id) = cluster.connect(&format!("10.0.0.1:{port}"));
            tokens.push(cluster.token((index, id)));
            cluster.transfer(client, (index, id), &pattern(10_000));
        }
        (cluster.log, tokens)
    };
    let (log, mut tokens) = session();
    assert!(log == session().0);
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 9);
}
