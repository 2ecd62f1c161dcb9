//! A run: troubles at random, as long as another path is left.

use std::thread;
use std::time::{Duration, Instant};

use anabranch_interop::snapshot::Snapshot;
use anabranch_interop::tool::output;
use anabranch_interop::topology::{Side, Topology};

use crate::engine::{CONNECTIONS, Engine, Running};
use crate::evidence::Evidence;
use crate::ledger::{Ids, Ledger};
use crate::report::Report;
use crate::traffic::Traffic;
use crate::trouble::{Kind, Trouble};
use crate::view::{Seen, View};
use crate::world::{self, LINKS};

/// How often the server is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How long a path that is back is waited for: whoever has not joined it by then never does.
const NEVER: Duration = Duration::from_secs(20);

/// Small numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

enum Link<'a> {
    /// Every connection uses it.
    Used,
    Broken(Trouble<'a>),
    /// It is back since then; these connections have not used it again yet.
    Back(Kind, Instant, Vec<String>),
    /// Not all connections came back to it in time.
    Lost,
}

struct Run<'a> {
    topology: &'a Topology,
    view: View<'a>,
    links: Vec<Link<'a>>,
    traffic: Vec<Traffic>,
    names: Vec<String>,
    ids: Ids,
    report: Report,
}

/// Both hosts, every setting of theirs.
fn hosts(topology: &Topology) -> [Snapshot; 2] {
    [Side::Client, Side::Server].map(|side| topology.host(side).run(|| Snapshot::take().unwrap()))
}

/// What either side has, for whoever looks for what went wrong.
fn sockets(topology: &Topology) -> String {
    let all = [Side::Client, Side::Server].map(|side| {
        let sockets = topology.host(side).run(|| output("ss", "-Htaine"));
        format!("{side:?}:\n{}", sockets.unwrap_or_else(|it| it.to_string()))
    });
    all.join("\n")
}

pub(crate) fn run(engine: Engine, flaps: usize, seed: u64) -> Report {
    let topology = world::new();
    let before = hosts(&topology);
    let evidence = (engine != Engine::OurStack).then(|| Evidence::collect(&topology));
    let mut running = Running::start(engine, &topology);
    let traffic = (0..CONNECTIONS).map(|n| running.connect(&topology, seed + n as u64));
    let traffic = traffic.collect();
    let processes = running.processes();
    let mut run = Run::new(&topology, running.view(&topology), traffic);
    let first = run.ledger(&processes);
    let mut most = first.clone();
    let mut dice = Dice(seed);
    while run.report.flaps < flaps && run.step(&mut dice, engine == Engine::Kernel) {
        if run.report.flaps.is_multiple_of(10) {
            most.most(&run.ledger(&processes));
        }
    }
    run.end_troubles(engine == Engine::Kernel);
    if engine != Engine::Kernel {
        run.until("nothing more than before", |run| {
            run.ledger(&processes) == first
        });
    }
    // Twice as many subflows: those that a peer does not know yet to be gone.
    let bound = 2 * LINKS * CONNECTIONS;
    assert!(most.0["subflows"] <= bound, "{most:?}");
    let ids = run.ids.most();
    assert!(ids <= 2, "{:?}", run.ids);
    let mut report = run.finish(evidence);
    report.most = format!("{:?}, IDs of an address: {ids}", most.0);
    running.stop();
    for (before, after) in before.iter().zip(&hosts(&topology)) {
        report.left.extend(after.changes_since(before));
    }
    report
}

impl<'a> Run<'a> {
    /// When every connection has a subflow over every link.
    fn new(topology: &'a Topology, view: View<'a>, traffic: Vec<Traffic>) -> Run<'a> {
        let report = Report {
            connections: traffic.len(),
            ..Report::default()
        };
        let mut run = Run {
            topology,
            view,
            links: (0..LINKS).map(|_| Link::Used).collect(),
            traffic,
            names: Vec::new(),
            ids: Ids::default(),
            report,
        };
        run.until("a subflow of each connection over each link", |run| {
            let seen = run.view.subflows();
            let mut names: Vec<String> = seen.iter().map(|it| it.connection.clone()).collect();
            names.sort();
            names.dedup();
            run.names = names;
            seen.len() == LINKS * CONNECTIONS
        });
        run
    }

    fn ledger(&mut self, processes: &[u32]) -> Ledger {
        let subflows = self.view.subflows().len();
        Ledger::take(self.topology, processes, subflows)
    }

    /// One link breaks, or is mended. Whether that could be.
    fn step(&mut self, dice: &mut Dice, may_lose: bool) -> bool {
        let pause = Duration::from_millis(20 + dice.below(300));
        self.pass(pause, may_lose);
        let link = dice.below(LINKS as u64) as usize;
        let kind = Kind::ALL[dice.below(Kind::ALL.len() as u64) as usize];
        let used = self.links.iter().filter(|it| matches!(it, Link::Used));
        let others = used.count() > 1;
        match std::mem::replace(&mut self.links[link], Link::Lost) {
            Link::Used if others => {
                self.report.flaps += 1;
                let trouble = Trouble::befall(self.topology, link, kind);
                self.links[link] = Link::Broken(trouble);
            }
            Link::Broken(trouble) => self.links[link] = self.mend(trouble),
            other => self.links[link] = other,
        }
        let lost = self.links.iter().filter(|it| matches!(it, Link::Lost));
        lost.count() < LINKS - 1
    }

    fn mend(&self, trouble: Trouble<'_>) -> Link<'a> {
        let kind = trouble.kind;
        trouble.end();
        Link::Back(kind, Instant::now(), self.names.clone())
    }

    /// Time passes; who comes back is noted.
    fn pass(&mut self, time: Duration, may_lose: bool) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.look(may_lose);
            thread::sleep(LOOK);
        }
    }

    fn look(&mut self, may_lose: bool) {
        self.traffic.iter_mut().for_each(Traffic::look);
        let asked = Instant::now();
        let seen = self.view.subflows();
        self.ids.note(&seen);
        for number in 0..LINKS {
            let Link::Back(kind, since, waiting) = &mut self.links[number] else {
                continue;
            };
            let (kind, since) = (*kind, *since);
            let address = world::client(self.topology, number);
            let is_back = |name: &String| {
                let here = |it: &&Seen| it.client == address && it.connection == *name;
                // The kernel tells milliseconds.
                let heard = |it: &Seen| since + it.silent + Duration::from_millis(1) < asked;
                seen.iter().filter(here).any(heard)
            };
            let before = waiting.len();
            waiting.retain(|name| !is_back(name));
            let times = self.report.rejoined.entry(kind).or_default();
            times.extend((waiting.len()..before).map(|_| since.elapsed()));
            if waiting.is_empty() {
                self.links[number] = Link::Used;
            } else if since.elapsed() > NEVER {
                assert!(
                    may_lose,
                    "{kind:?} of link {number}: {waiting:?}, {seen:?}\n{}",
                    sockets(self.topology)
                );
                *self.report.never.entry(kind).or_default() += waiting.len();
                self.links[number] = Link::Lost;
            }
        }
    }

    fn end_troubles(&mut self, may_lose: bool) {
        for number in 0..LINKS {
            if let Link::Broken(_) = &self.links[number] {
                let broken = std::mem::replace(&mut self.links[number], Link::Lost);
                if let Link::Broken(trouble) = broken {
                    self.links[number] = self.mend(trouble);
                }
            }
        }
        self.until("every path is used again", |run| {
            run.look(may_lose);
            !run.links.iter().any(|it| matches!(it, Link::Back(..)))
        });
    }

    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Run<'a>) -> bool) {
        let deadline = Instant::now() + 2 * NEVER;
        while !holds(self) {
            assert!(Instant::now() < deadline, "never: {what}");
            thread::sleep(LOOK);
        }
    }

    fn finish(self, evidence: Option<Evidence>) -> Report {
        let mut report = self.report;
        let mut all = Vec::new();
        for traffic in self.traffic {
            report.longest_stall = report.longest_stall.max(traffic.longest_stall());
            all.push(traffic.finish());
        }
        report.bytes = all.iter().flatten().map(|it| it.received.bytes).sum();
        match evidence {
            Some(evidence) => report.by_linux = evidence.judge(&all),
            None => all
                .iter()
                .flatten()
                .for_each(|it| assert!(it.is_right(), "{it:?}")),
        }
        report
    }
}
