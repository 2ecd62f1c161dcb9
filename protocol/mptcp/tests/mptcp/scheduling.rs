//! Schedulers: what they decide is held against what can be, told, and changed while data flows.

use crate::world::{Side, World, client_addr, pattern};
use anabranch_mptcp::schedule::{
    Copy, Decision, Kind, PathRule, Purpose, Scheduler, Thresholds, View, Weighted,
};
use anabranch_mptcp::{Event, Steering, SubflowId};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// What schedulers get wrong.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    /// A subflow that never was, or is no more.
    Unknown,
    /// The one that is full.
    Full,
    /// Waits though nothing is under way.
    Idle,
    /// Copies of runs that are not there, to subflows that are not.
    Copies,
}

impl Scheduler for Wrong {
    fn name(&self) -> &'static str {
        "wrong"
    }

    fn pick(&mut self, view: &View<'_>) -> Decision {
        let full = view.candidates.iter().find(|c| c.room == 0);
        match (self, full) {
            (Wrong::Idle, _) => Decision::Wait("for nothing"),
            (Wrong::Full, Some(full)) => Decision::Send(full.id, "it is full"),
            (Wrong::Unknown, _) => Decision::Send(SubflowId(77), "nobody knows it"),
            _ => Decision::Wait("no path has room"),
        }
    }

    fn copies(&self) -> bool {
        matches!(self, Wrong::Copies)
    }

    fn copy(&mut self, view: &View<'_>) -> Option<Copy> {
        let run = view.runs.after(0)?.end;
        let (run, to) = match view.assigned % 3 {
            0 => (run + 1, view.candidates.first()?.id),
            1 => (run, SubflowId(77)),
            _ => (u64::MAX, SubflowId(0)),
        };
        let why = "why not";
        Some(Copy { run, to, why })
    }
}

fn world(scheduler: Box<dyn Scheduler>) -> World {
    let mut world = World::joined(2);
    for link in &mut world.links {
        link.rate = Some(2_000_000);
    }
    world.with_conn(Side::Client, |c, _| c.set_scheduler(scheduler));
    world
}

#[test]
fn answers_that_cannot_be_are_refused_and_counted_and_the_bytes_arrive() {
    for wrong in [Wrong::Unknown, Wrong::Full, Wrong::Idle, Wrong::Copies] {
        let mut world = world(Box::new(wrong));
        let data = pattern(400_000, 1);
        world.send_all(Side::Client, data.clone());
        world.run_for(Duration::from_secs(20));
        assert!(
            world.server.received == data,
            "{wrong:?}: {}",
            world.describe()
        );
        assert!(
            world.client.info().counters.schedule_refused > 0,
            "{wrong:?}"
        );
    }
}

#[test]
fn no_path_allowed_is_told_and_another_scheduler_ends_it() {
    let none = PathRule {
        weight: 0,
        ..PathRule::default()
    };
    let used_up = PathRule {
        quota: Some(0),
        ..PathRule::default()
    };
    for rule in [none, used_up] {
        let mut world = world(Box::new(Weighted::new(vec![rule])));
        let data = pattern(100_000, 1);
        world.send(Side::Client, data.clone());
        world.run_for(100 * MS);
        let told = world
            .client
            .events
            .iter()
            .filter(|e| matches!(e, Event::Stuck(_)));
        assert_eq!(told.count(), 1, "once");
        assert!(world.client.info().stuck.is_some());
        assert!(world.server.received.is_empty());
        world.with_conn(Side::Client, |c, _| c.set_scheduler(Kind::MinRtt.build()));
        world.run_for(Duration::from_secs(5));
        assert!(world.server.received == data);
        assert_eq!(world.client.info().stuck, None);
    }
}

/// Payload bytes on each link.
fn carried(world: &World) -> [usize; 2] {
    [0, 1].map(|link| {
        let of = world
            .log
            .iter()
            .filter(|(_, w)| w.link == link && w.from == Side::Client);
        of.map(|(_, w)| w.payload.len()).sum()
    })
}

#[test]
fn a_quota_ends_with_the_run_that_reaches_it() {
    let rule = PathRule {
        addr: Some(client_addr(0)),
        quota: Some(100_000),
        ..PathRule::default()
    };
    let mut world = world(Box::new(Weighted::new(vec![rule])));
    world.log.clear();
    let data = pattern(1_000_000, 1);
    world.send_all(Side::Client, data.clone());
    world.run_for(Duration::from_secs(10));
    assert!(world.server.received == data);
    let [first, second] = carried(&world);
    assert!(
        (100_000..100_000 + 65_536).contains(&first),
        "{first} {second}"
    );
}

#[test]
fn a_capped_path_keeps_to_its_rate_and_the_cheapest_class_comes_first() {
    let rules = "weighted:10.0.0.1 rate=100000; * class=1";
    let Ok(Kind::Weighted(mut rules)) = rules.parse() else {
        panic!("rules");
    };
    rules[0].addr = Some(client_addr(0));
    let mut world = world(Box::new(Weighted::new(rules)));
    world.log.clear();
    world.send_all(Side::Client, pattern(1_000_000, 1));
    world.run_for(Duration::from_secs(5));
    let [first, second] = carried(&world);
    assert!((400_000..560_000).contains(&first), "{first}");
    assert_eq!(second, 0, "of a dearer class");
}

#[test]
fn weights_are_shares() {
    let rule = |link, weight| PathRule {
        addr: Some(client_addr(link)),
        weight,
        ..PathRule::default()
    };
    let mut world = world(Box::new(Weighted::new(vec![rule(0, 3), rule(1, 1)])));
    for link in &mut world.links {
        link.rate = None;
    }
    world.log.clear();
    // So little at a time that windows decide nothing.
    for _ in 0..200 {
        world.send(Side::Client, pattern(2_000, 1));
        world.run_for(30 * MS);
    }
    let [first, second] = carried(&world);
    let share = first as f64 / (first + second) as f64;
    assert!((0.70..0.80).contains(&share), "{share}");
}

#[test]
fn handover_leaves_a_slow_path_and_returns_when_it_is_fast_again() {
    let thresholds = Thresholds {
        srtt: 100 * MS,
        back_after: 300 * MS,
        prefer: vec![client_addr(0)],
        ..Thresholds::default()
    };
    let mut world = world(Kind::Backup(thresholds).build());
    // Left to itself: a server may tell to give up a path that does so badly.
    world.with_conn(Side::Server, |c, now| c.set_steering(now, Steering::OFF));
    let used = |world: &mut World| {
        world.log.clear();
        for _ in 0..100 {
            world.send(Side::Client, pattern(100, 1));
            world.run_for(10 * MS);
        }
        carried(world)
    };
    let [first, second] = used(&mut world);
    assert!(first > 0 && second == 0, "{first} {second}");
    world.links[0].delay = 150 * MS;
    // Until round trips of that length were seen, and what waits for them arrived.
    used(&mut world);
    used(&mut world);
    used(&mut world);
    let [first, second] = used(&mut world);
    assert!(second > first, "{first} {second}");
    // It is asked now and then how it does, but not once nothing is said any more.
    world.run_for(Duration::from_secs(5));
    world.log.clear();
    world.run_for(Duration::from_secs(20));
    assert!(world.log.is_empty(), "{:?}", world.log);
    world.links[0].delay = 10 * MS;
    for _ in 0..5 {
        used(&mut world);
    }
    let [first, second] = used(&mut world);
    assert!(first > 0 && second == 0, "{first} {second}");
}

#[test]
fn everything_goes_on_every_path_where_that_is_wanted() {
    let mut world = world(Kind::Redundant.build());
    let data = pattern(200_000, 1);
    world.log.clear();
    world.send_all(Side::Client, data.clone());
    world.run_for(Duration::from_secs(5));
    assert!(world.server.received == data);
    let [first, second] = carried(&world);
    assert!(first + second > 300_000, "{first} {second}");
    let counters = world.client.info().counters;
    assert!(counters.bytes_copied > 100_000, "{counters:?}");
    assert_eq!(counters.schedule_refused, 0);
}

#[test]
fn decisions_are_kept_while_wanted_with_what_was_known() {
    let mut world = world(Kind::MinRtt.build());
    assert!(world.client.conn().decision_log().is_none());
    world.with_conn(Side::Client, |c, _| c.set_decision_log(Some(8)));
    world.send_all(Side::Client, pattern(500_000, 1));
    world.run_for(Duration::from_secs(2));
    let conn = world.client.conn();
    let log = conn.decision_log().expect("it was wanted");
    let kept: Vec<_> = log.entries().collect();
    assert_eq!(kept.len(), 8);
    assert!(kept.windows(2).all(|pair| pair[0].number < pair[1].number));
    let sent = kept
        .iter()
        .find(|it| it.to.is_some())
        .expect("something was sent");
    assert!(sent.bytes > 0 && sent.purpose == Purpose::New && sent.scheduler == "minrtt");
    assert_eq!(sent.paths.len(), 2);
    assert!(sent.paths.iter().all(|path| path.arrival.is_some()));
    world.with_conn(Side::Client, |c, _| c.set_decision_log(None));
    assert!(world.client.conn().decision_log().is_none());
}

#[test]
fn a_silent_path_is_suspected_long_before_its_timer_expires() {
    let mut world = world(Kind::MinRtt.build());
    world.links[1].delay = 15 * MS;
    world.send_all(Side::Client, pattern(4_000_000, 1));
    world.run_for(500 * MS);
    world.links[0].up = false;
    let before = world.server.received.len();
    world.run_for(190 * MS);
    let info = world.client.info();
    assert!(info.counters.suspicions > 0 && info.subflows[0].stale);
    assert_eq!(info.subflows[0].tcp.stats.rtos, 0);
    assert!(world.server.received.len() > before + 100_000);
    // It comes back, and is found to be there by a probe rather than by its timer.
    world.run_for(Duration::from_secs(1));
    world.links[0].up = true;
    world.run_for(Duration::from_secs(1));
    assert!(!world.client.info().subflows[0].stale);
}

#[test]
fn a_message_of_a_segment_and_a_half_is_acknowledged_late_and_nobody_is_suspected() {
    let mut world = World::joined(2);
    for link in &mut world.links {
        link.delay = MS;
    }
    for _ in 0..100 {
        world.send(Side::Server, pattern(2100, 1));
        world.run_for(100 * MS);
    }
    assert_eq!(world.server.info().counters.suspicions, 0);
}
