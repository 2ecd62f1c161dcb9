//! Telling the peer where to send: a client with Linux's scheduler, which puts a message on the path
//! with the least queued and knows of a dead one only once its retransmission timer has expired.

use crate::world::{Link, Rng, Side, World, client_addr, pattern, seeds, server_addr};
use anabranch_mptcp::schedule::{Candidate, Decision, Scheduler, View};
use anabranch_mptcp::{Config, Failover, GiveUp, Path, Steering, SubflowId, SubflowInfo};
use anabranch_tcp::{SocketOption, State};
use anabranch_wire::mptcp::{MptcpOption, ResetReason};
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const MESSAGE: usize = 64;

/// The subflow that is through first with what it has: Linux's default scheduler.
#[derive(Debug)]
struct Linux;

impl Scheduler for Linux {
    fn name(&self) -> &'static str {
        "linux"
    }

    fn pick(&mut self, view: &View<'_>) -> Decision {
        let time =
            |c: &Candidate| (u128::from(c.queued) << 32) / u128::from(c.rate.unwrap_or(1).max(1));
        match view.with_room().min_by_key(|c| time(c)) {
            Some(c) => Decision::Send(c.id, "least queued"),
            None => Decision::Wait("no path has room"),
        }
    }
}

/// Round trips of so many ms. The server has an address on each link, or one on all.
fn world(rtts: &[u32], steering: Steering, shared: bool) -> World {
    let client = Config {
        failover: Failover {
            round_trips: 0,
            ..Failover::default()
        },
        ..Config::default()
    };
    let server = Config {
        steering,
        ..Config::default()
    };
    let mut world = World::with(client, server, rtts.len());
    for (link, rtt) in world.links.iter_mut().zip(rtts) {
        *link = Link {
            delay: MS * *rtt / 2,
            ..Link::default()
        };
    }
    world.connect();
    world.run_for(400 * MS);
    world.with_conn(Side::Client, |c, _| c.set_scheduler(Box::new(Linux)));
    for side in [Side::Client, Side::Server] {
        let set = world.with_conn(side, |c, now| {
            c.set_option(now, &SocketOption::NoDelay(true))
        });
        set.expect("an option");
    }
    for link in 1..rtts.len() {
        if !shared {
            let id = 10 + link as u8;
            let announced = world.with_conn(Side::Server, |c, now| {
                c.announce(now, id, server_addr(link), None)
            });
            announced.expect("an address");
            world.run_for(400 * MS);
        }
        let to = if shared { 0 } else { link };
        join(&mut world, link, to);
    }
    world.run_for(400 * MS);
    assert_eq!(world.client.info().subflows.len(), rtts.len());
    world
}

/// The client joins from its address on one link to the server's of another.
fn join(world: &mut World, from: usize, to: usize) {
    let serial = 7000 + (world.now.0 / 1_000_000 % 1000) as u16;
    let path = Path {
        local: SocketAddr::new(client_addr(from), serial),
        remote: SocketAddr::new(server_addr(to), crate::world::SERVER_PORT),
    };
    let joined = world.with_conn(Side::Client, |c, now| {
        let start = anabranch_mptcp::Start {
            iss: anabranch_wire::Seq(now.0 as u32),
            ts_offset: 1,
            mss: 1460,
            known_mss: None,
        };
        c.join_active(now, path, 0, start, now.0 as u32, false)
    });
    joined.expect("a join");
}

/// A client that says something every 10 ms, and has it echoed.
struct Talk {
    said: Vec<u8>,
    echoed: usize,
    /// When each message was sent, and how long its echo took.
    sent: Vec<u64>,
    took: Vec<u64>,
}

impl Talk {
    fn new() -> Talk {
        Talk {
            said: Vec::new(),
            echoed: 0,
            sent: Vec::new(),
            took: Vec::new(),
        }
    }

    /// So many messages, each every 10 ms; times are ms.
    fn go_on(&mut self, world: &mut World, messages: usize) {
        for _ in 0..messages {
            let message = pattern(MESSAGE, self.sent.len() as u64);
            self.said.extend_from_slice(&message);
            self.sent.push(world.now.0 / 1_000_000);
            world.send(Side::Client, message);
            for _ in 0..10 {
                world.run_for(MS);
                self.echo(world);
            }
        }
    }

    fn echo(&mut self, world: &mut World) {
        let heard = world.server.received.len();
        if heard > self.echoed {
            let bytes = Bytes::copy_from_slice(&world.server.received[self.echoed..]);
            self.echoed = heard;
            world.send(Side::Server, bytes);
        }
        while world.client.received.len() >= (self.took.len() + 1) * MESSAGE {
            let sent = self.sent[self.took.len()];
            self.took.push(world.now.0 / 1_000_000 - sent);
        }
    }

    /// Everything is waited for, and is what was said.
    fn end(&mut self, world: &mut World) {
        for _ in 0..5000 {
            if self.took.len() == self.sent.len() {
                break;
            }
            world.run_for(MS);
            self.echo(world);
        }
        assert!(world.server.received == self.said, "{}", world.describe());
        assert!(world.client.received == self.said, "{}", world.describe());
    }

    /// The longest that an echo took of messages from this one on, ms.
    fn longest(&self, from: usize) -> u64 {
        self.took[from..].iter().copied().max().unwrap_or(0)
    }
}

fn with(give_up: GiveUp, confirm: Duration) -> Steering {
    Steering {
        give_up,
        confirm,
        ..Steering::default()
    }
}

#[test]
fn a_client_with_little_to_say_keeps_to_the_best_path() {
    let mut talk = Talk::new();
    let mut off = world(&[20, 120], Steering::OFF, true);
    talk.go_on(&mut off, 100);
    talk.end(&mut off);
    assert!(talk.longest(0) >= 70, "as it is without: {:?}", talk.took);
    for rtts in [[20, 120], [120, 20]] {
        let mut talk = Talk::new();
        let mut world = world(&rtts, Steering::default(), true);
        talk.go_on(&mut world, 100);
        talk.end(&mut world);
        assert!(talk.longest(0) <= 22, "{:?}", talk.took);
        assert_eq!(world.server.info().counters.avoided, 1);
        assert!(
            world.server.info().subflows.iter().all(|s| !s.backup),
            "not for us"
        );
    }
}

#[test]
fn a_client_that_sends_in_bulk_has_all_paths_and_loses_them_when_it_is_through() {
    let mut world = world(&[20, 120], Steering::default(), true);
    for link in &mut world.links {
        link.rate = Some(1_000_000);
    }
    world.send(Side::Client, pattern(2_000_000, 1));
    world.run_for(Duration::from_secs(20));
    assert!(world.server.received == pattern(2_000_000, 1));
    let slow = world.count(|w| w.link == 1 && w.from == Side::Client && w.payload.len() > 1000);
    assert!(slow > 300, "the slow path carried {slow} segments");
    world.server.received.clear();
    world.client.received.clear();
    let mut talk = Talk::new();
    talk.go_on(&mut world, 100);
    talk.end(&mut world);
    assert!(talk.longest(50) <= 22, "{:?}", talk.took);
    assert_eq!(world.server.info().counters.avoided, 2);
}

#[test]
fn a_path_that_dies_is_given_up_and_comes_back() {
    for dies in [0, 1] {
        let mut world = world(&[4, 4], with(GiveUp::Returnable, Duration::ZERO), false);
        let mut talk = Talk::new();
        talk.go_on(&mut world, 100);
        world.links[dies].up = false;
        talk.go_on(&mut world, 50);
        assert!(talk.longest(0) <= 50, "{dies}: {:?}", talk.took);
        world.links[dies].up = true;
        talk.go_on(&mut world, 500);
        let counters = world.server.info().counters;
        let used = talk.took.iter().any(|took| *took > 20);
        assert_eq!(
            counters.given_up,
            u64::from(used),
            "{dies}: {:?}",
            talk.took
        );
        if used {
            assert_eq!(counters.given_back, 1, "{dies}");
            let told = |o: &MptcpOption| match o {
                MptcpOption::AddAddr(add) => !add.echo && add.addr == server_addr(dies),
                _ => false,
            };
            let again = world
                .log
                .iter()
                .rev()
                .find(|(_, w)| w.options().iter().any(told));
            assert!(again.is_some(), "{dies}: announced again");
            // As a path manager does that hears of it.
            join(&mut world, dies, dies);
            world.run_for(100 * MS);
            let info = world.server.info();
            let open = |s: &&SubflowInfo| s.tcp.state == State::Established;
            let open = info.subflows.iter().filter(open).count();
            assert_eq!(open, 2, "{}", world.describe());
        }
        talk.go_on(&mut world, 10);
        talk.end(&mut world);
    }
}

/// What its reset would have told is lost: the answer to our FIN tells it, once there is one.
#[test]
fn a_path_whose_end_was_closed_while_it_was_dead_comes_back() {
    let mut world = world(&[4, 4], with(GiveUp::Returnable, Duration::ZERO), false);
    let mut talk = Talk::new();
    talk.go_on(&mut world, 100);
    world.links[1].up = false;
    talk.go_on(&mut world, 50);
    assert_eq!(world.server.info().counters.given_up, 1);
    let client = world.client.info();
    let there = |s: &&SubflowInfo| s.path.local.ip() == client_addr(1);
    let id = client.subflows.iter().find(there).unwrap().id;
    let reason = ResetReason::Unspecified;
    let reset = world.with_conn(Side::Client, |c, now| c.reset_subflow(now, id, reason));
    reset.expect("a subflow");
    world.run_for(100 * MS);
    world.links[1].up = true;
    talk.go_on(&mut world, 500);
    assert_eq!(world.server.info().counters.given_back, 1);
    talk.end(&mut world);
}

#[test]
fn where_all_go_to_one_address_the_path_is_given_up_only_if_that_is_wanted() {
    for (give_up, most) in [(GiveUp::Always, 50), (GiveUp::Returnable, 600)] {
        let mut world = world(&[4, 4], with(give_up, Duration::ZERO), true);
        let mut talk = Talk::new();
        talk.go_on(&mut world, 100);
        world.links[0].up = false;
        talk.go_on(&mut world, 100);
        talk.end(&mut world);
        assert!(talk.longest(0) <= most, "{give_up:?}: {:?}", talk.took);
        let given_up = u64::from(give_up == GiveUp::Always);
        assert_eq!(world.server.info().counters.given_up, given_up);
        let own = world
            .client
            .info()
            .subflows
            .last()
            .is_some_and(|s| s.remote_id > 0);
        assert_eq!(
            own,
            give_up == GiveUp::Always,
            "the join has an ID of its own"
        );
    }
}

#[test]
fn when_the_best_path_dies_the_slow_one_is_no_backup_any_more() {
    let mut world = world(&[20, 120], with(GiveUp::Never, Duration::ZERO), true);
    let mut talk = Talk::new();
    talk.go_on(&mut world, 100);
    world.links[0].up = false;
    talk.go_on(&mut world, 300);
    talk.end(&mut world);
    let prio = |w: &&(anabranch_tcp::Instant, crate::world::Wire)| {
        let dead = |o: &MptcpOption| matches!(o, MptcpOption::Prio(prio) if !prio.backup);
        w.1.options().iter().any(dead)
    };
    let told = world.log.iter().find(prio).expect("MP_PRIO").0;
    let died = talk.sent[100];
    let after = told.0 / 1_000_000 - died;
    assert!(after <= 100, "told {after} ms after it died");
    assert_eq!(world.server.info().counters.given_up, 0);
}

/// Of hiccups this long: suspicions, paths given up, the longest echo after each.
fn hiccups(length: u32, confirm: Duration) -> (u64, u64, u64) {
    let mut longest = 0;
    let mut counted = (0, 0);
    for phase in 0..10 {
        let mut world = world(&[4, 4], with(GiveUp::Returnable, confirm), false);
        let mut talk = Talk::new();
        talk.go_on(&mut world, 50);
        world.run_for(MS * phase);
        hold(&mut world, length);
        talk.go_on(&mut world, 50);
        talk.end(&mut world);
        longest = longest.max(talk.longest(0));
        let counters = world.server.info().counters;
        counted.0 += counters.suspicions;
        counted.1 += counters.given_up;
    }
    (counted.0, counted.1, longest)
}

/// Packets on the first link are lost for so long.
fn hold(world: &mut World, length: u32) {
    let until = world.now + MS * length;
    world.middlebox = Some(Box::new(move |now, wire| wire.link != 0 || now >= until));
}

#[test]
fn what_hiccups_cost_is_as_documented() {
    let document = include_str!("../../../../docs/schedulers.md");
    let mut table = String::new();
    for length in [10, 20, 30, 50, 100, 1000] {
        table += &format!("| {length} |");
        for confirm in [0, 20, 50] {
            let (suspicions, given_up, longest) = hiccups(length, MS * confirm);
            table += &format!(" {suspicions} / {given_up} / {longest} |");
        }
        table += "\n";
    }
    assert!(
        document.contains(&table),
        "docs/schedulers.md should say\n{table}"
    );
}

#[test]
fn a_flapping_path_is_given_up_ever_more_rarely() {
    let mut world = world(&[4, 4], with(GiveUp::Returnable, Duration::ZERO), false);
    let mut talk = Talk::new();
    talk.go_on(&mut world, 50);
    for _ in 0..60 {
        world.links[0].up = false;
        talk.go_on(&mut world, 20);
        world.links[0].up = true;
        talk.go_on(&mut world, 80);
        if world.client.info().subflows.len() < 2 && world.server.info().subflows.len() < 2 {
            join(&mut world, 0, 0);
        }
    }
    talk.end(&mut world);
    let given_up = world.server.info().counters.given_up;
    assert!((1..=4).contains(&given_up), "{given_up} times in a minute");
}

#[test]
fn a_subflow_is_probed_once_a_second_at_most() {
    let mut world = world(&[4, 4], Steering::default(), true);
    let mut talk = Talk::new();
    for _ in 0..10 {
        talk.go_on(&mut world, 30);
        world.run_for(200 * MS);
    }
    talk.end(&mut world);
    let probes = world.server.info().counters.silence_probes;
    assert!(
        (2..=12).contains(&probes),
        "{probes} of two subflows in five seconds"
    );
    assert_eq!(world.server.info().counters.suspicions, 0);
    // Nothing is left to be looked at.
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.with_conn(Side::Server, |c, _| c.deadline()), None);
}

#[test]
fn what_was_told_is_in_the_log() {
    let mut world = world(&[20, 120], Steering::default(), true);
    world.with_conn(Side::Server, |c, _| c.set_decision_log(Some(8)));
    world.with_conn(Side::Server, |c, now| c.set_steering(now, Steering::OFF));
    world.with_conn(Side::Server, |c, now| {
        c.set_steering(now, "slower=3".parse().expect("settings"));
    });
    world.run_for(Duration::from_secs(2));
    world.with_conn(Side::Server, |c, now| {
        c.set_steering(now, Steering::default())
    });
    let c = world.server.conn();
    let log = c.decision_log().expect("a log");
    let told: Vec<_> = log.entries().map(|e| (e.scheduler, e.to, e.why)).collect();
    let second = Some(SubflowId(1));
    assert_eq!(
        told,
        [
            ("steering", second, "it is needed again"),
            (
                "steering",
                second,
                "the peer sends little, and this path is much slower"
            ),
        ]
    );
}

#[test]
fn whatever_is_told_the_bytes_are_those_that_were_sent() {
    for seed in seeds(300) {
        let mut rng = Rng(seed);
        let rtts = [2 + rng.below(60) as u32, 2 + rng.below(200) as u32];
        let give_up = [GiveUp::Never, GiveUp::Returnable, GiveUp::Always][rng.below(3) as usize];
        let shared = rng.chance(0.5);
        let mut world = world(&rtts, with(give_up, MS * rng.below(30) as u32), shared);
        world.keep_log = false;
        let mut talk = Talk::new();
        for _ in 0..6 {
            let link = rng.below(2) as usize;
            world.links[link].loss = rng.below(20) as f64 / 100.0;
            world.links[1 - link].loss = 0.0;
            talk.go_on(&mut world, 1 + rng.below(40) as usize);
            if rng.chance(0.5) {
                world.links[link].up = false;
                talk.go_on(&mut world, 1 + rng.below(30) as usize);
                world.links[link].up = true;
            }
            if rng.chance(0.3) {
                world.run_for(MS * rng.below(2000) as u32);
                talk.echo(&mut world);
            }
        }
        for link in &mut world.links {
            link.loss = 0.0;
        }
        talk.end(&mut world);
    }
}
