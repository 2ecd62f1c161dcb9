//! Coupled congestion control against what it is for: RFC 6356 §3, and the cases in which LIA is
//! not Pareto-optimal (Khalili et al., CoNEXT 2012).

use crate::parallel;
use crate::town::{Kind, Town};
use std::time::Duration;

/// The part of a run that does not count, and the part that does: tens of the couplings' sawteeth.
const GOALS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(100));
const PARETO: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(60));

const KINDS: [Kind; 7] = [
    kind("cubic", "cubic"),
    kind("reno", "reno"),
    kind("lia", "reno"),
    kind("olia", "reno"),
    kind("balia", "reno"),
    kind("wvegas", "wvegas"),
    kind("wvegas", "reno"),
];

const fn kind(name: &'static str, beside: &'static str) -> Kind {
    Kind { name, beside }
}

/// Two links of 10 Mbit/s, each shared with one TCP: of what that TCP has on the better link.
fn goal_1(kind: Kind) -> f64 {
    let mut town = Town::new(kind);
    let links = [town.link(10.0), town.link(10.0)];
    links.iter().for_each(|link| town.tcp(*link));
    town.multipath(&[&[links[0]], &[links[1]]]);
    let users = town.measure(GOALS.0, GOALS.1, &[]).users;
    users[2] / users[0].max(users[1])
}

/// So many subflows and one TCP in one queue: of what the TCP has.
fn goal_2(kind: Kind, subflows: usize) -> f64 {
    let mut town = Town::new(kind);
    let link = [town.link(10.0)];
    town.tcp(link[0]);
    town.multipath(&vec![&link[..]; subflows]);
    let users = town.measure(GOALS.0, GOALS.1, &[]).users;
    users[1] / users[0]
}

/// One TCP on the first link, four on the second: the part that goes over the second.
fn goal_3(kind: Kind) -> f64 {
    let mut town = Town::new(kind);
    let links = [town.link(10.0), town.link(10.0)];
    town.tcp(links[0]);
    (0..4).for_each(|_| town.tcp(links[1]));
    town.multipath(&[&[links[0]], &[links[1]]]);
    let measured = town.measure(GOALS.0, GOALS.1, &links);
    let others = [measured.users[0], measured.users[1..5].iter().sum()];
    let own = |link: usize| (measured.links[link] - others[link]).max(0.0);
    own(1) / (own(0) + own(1))
}

pub(crate) fn goals() -> String {
    let row = |kind: &Kind| {
        format!(
            "| {} | {} | {:.2} | {:.2} | {:.2} | {:.0} |\n",
            kind.name,
            kind.beside,
            goal_1(*kind),
            goal_2(*kind, 2),
            goal_2(*kind, 4),
            100.0 * goal_3(*kind)
        )
    };
    GOALS_HEAD.to_owned() + &parallel(&KINDS, row).concat()
}

const GOALS_HEAD: &str = "| | beside | 1: of one TCP on the better path | 2: two subflows, of one TCP in the same queue | 2: four subflows | 3: over the path with four TCPs rather than one, % |
|---|---|---|---|---|---|
";

/// Scenario A: ten users of the first kind, whose server has 10 Mbit/s for them, and ten of the
/// second, with TCP at an access point of 10 Mbit/s. Those of the first may use that access point
/// too, which gains them nothing. Mbit/s of the first and of the second, each.
fn scenario_a(kind: Kind, upgraded: bool) -> String {
    let mut town = Town::new(kind);
    let (first, shared) = (town.link(10.0), town.link(10.0));
    for _ in 0..10 {
        town.tcp(shared);
        match upgraded {
            true => town.multipath(&[&[first], &[first, shared]]),
            false => town.tcp(first),
        }
    }
    each(town)
}

/// Scenario C: ten users with an access point of 10 Mbit/s of their own, who may use that of ten
/// with TCP, 5 Mbit/s, too. Mbit/s of each kind.
fn scenario_c(kind: Kind) -> String {
    let mut town = Town::new(kind);
    let (own, shared) = (town.link(10.0), town.link(5.0));
    for _ in 0..10 {
        town.tcp(shared);
        town.multipath(&[&[own], &[shared]]);
    }
    each(town)
}

/// Of those that came second, and of those that came first.
fn each(mut town: Town) -> String {
    let users = town.measure(PARETO.0, PARETO.1, &[]).users;
    let mean = |from: usize| {
        let some: Vec<f64> = users.iter().skip(from).step_by(2).copied().collect();
        some.iter().sum::<f64>() / some.len() as f64
    };
    format!("{:.2} / {:.2}", mean(1), mean(0))
}

pub(crate) fn pareto() -> String {
    let row = |kind: &Kind| {
        format!(
            "| {} | {} | {} | {} | {} |\n",
            kind.name,
            kind.beside,
            scenario_a(*kind, false),
            scenario_a(*kind, true),
            scenario_c(*kind)
        )
    };
    PARETO_HEAD.to_owned() + &parallel(&KINDS, row).concat()
}

const PARETO_HEAD: &str = "| | beside | A, all on one path | A, the first with Multipath TCP | C |
|---|---|---|---|---|
";
