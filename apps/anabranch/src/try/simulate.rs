//! The same over a simulated network, in virtual time, with our stack at both ends.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anabranch_sim::scene::World;
use anabranch_sim::{Change, Host, LinkConfig, Network, Path, Progress, Scene};

use super::args::{Rate, TryArgs};
use super::report::{Report, Transfer, Way};
use super::text;
use super::view::{LinkState, View};

/// Default size of the file, and rate of each link: a simulation takes as long as its packets.
const SIZE: u64 = 64 << 20;
const RATE: Rate = Rate(100_000_000);
/// One way, milliseconds.
const DELAY: u64 = 5;
const LINKS: usize = 2;
/// The link that is cut.
const CUT: usize = 1;
/// Virtual time after which a transfer has failed.
const LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Runs both ways.
pub(crate) fn run(
    args: &TryArgs,
    reason: Option<String>,
    cancel: &AtomicBool,
) -> Result<Report, String> {
    let size = args.size.map_or(SIZE, |size| size.0);
    let rate = args.rate.unwrap_or(RATE);
    if !args.json {
        println!(
            "Two simulated hosts, two links of {rate} and {DELAY} ms, seed {}. Link 1 is cut when \
             half of a\ntransfer is done, and comes back at three quarters. All times are of the \
             simulated network.\n",
            args.seed
        );
    }
    let mut transfers = Vec::new();
    for way in [Way::Down, Way::Up] {
        transfers.push(transfer(way, size, rate, args.seed, cancel)?);
    }
    Ok(Report {
        network: "simulation",
        reason,
        size_bytes: size,
        link_bits_per_second: rate.0,
        seed: args.seed,
        transfers,
    })
}

fn transfer(
    way: Way,
    size: u64,
    rate: Rate,
    seed: u64,
    cancel: &AtomicBool,
) -> Result<Transfer, String> {
    let link = LinkConfig::new(rate.0.div_ceil(1_000_000), DELAY);
    let paths = vec![Path::new(link); LINKS];
    let (up, down) = if way == Way::Up { (size, 0) } else { (0, size) };
    let mut world = Scene::new(seed, paths).bulk(up, down).build();
    let mut watch = Watch::new(&world, way, size);
    let mut given_up = false;
    let stuck = world.network.run(LIMIT, |network| {
        given_up = cancel.load(Ordering::Relaxed);
        given_up || watch.look(network).is_break()
    });
    let failed = |why: String| format!("simulated {way}: {why}");
    if given_up {
        return Err(failed("given up".to_owned()));
    }
    stuck.map_err(|stuck| failed(stuck.to_string()))?;
    Ok(watch.finish(&world))
}

/// Looks at a transfer as it goes, and cuts and restores the link.
struct Watch {
    way: Way,
    size: u64,
    /// Links of each path, there and back.
    links: Vec<(anabranch_sim::LinkId, anabranch_sim::LinkId)>,
    receiver: anabranch_sim::NodeId,
    sender: anabranch_sim::NodeId,
    view: View,
    /// The real time that stands for the start of virtual time.
    start: Instant,
    cut: bool,
    was_cut: bool,
    subflows: u64,
    shown: Duration,
}

impl Watch {
    fn new(world: &World, way: Way, size: u64) -> Watch {
        let (sender, receiver) = match way {
            Way::Up => (world.client, world.server),
            Way::Down => (world.server, world.client),
        };
        Watch {
            way,
            size,
            links: world.links.clone(),
            receiver,
            sender,
            view: View::new(format!("simulated {way}"), size),
            start: Instant::now(),
            cut: false,
            was_cut: false,
            subflows: 0,
            shown: Duration::ZERO,
        }
    }

    /// Breaks when the transfer is through, or its bytes are wrong.
    fn look(&mut self, network: &mut Network<Host>) -> ControlFlow<()> {
        let Some(progress) = network.node(self.receiver).progress().next() else {
            return ControlFlow::Continue(());
        };
        let (done, ended, wrong) = (progress.received, progress.eof, progress.wrong);
        if wrong.is_some() || ended.is_some() {
            return ControlFlow::Break(());
        }
        if !self.was_cut && done >= self.size / 2 {
            (self.cut, self.was_cut) = (true, true);
            self.set_link(network, true);
        } else if self.cut && done >= self.size / 4 * 3 {
            self.cut = false;
            self.set_link(network, false);
        }
        self.show(network, done);
        ControlFlow::Continue(())
    }

    fn set_link(&self, network: &mut Network<Host>, down: bool) {
        let (there, back) = self.links[CUT];
        network.change(there, Change::Down(down));
        network.change(back, Change::Down(down));
    }

    fn show(&mut self, network: &Network<Host>, done: u64) {
        let virtual_time = network.now().since(anabranch_tcp::Instant(0));
        // Often enough for the view, seldom enough not to be what takes the time.
        if virtual_time - self.shown < Duration::from_millis(20) {
            return;
        }
        self.shown = virtual_time;
        let host = network.node(self.sender);
        let info = host.flow(0).and_then(|flow| host.stack.info(flow));
        self.subflows = self
            .subflows
            .max(info.map_or(0, |info| info.subflows.len() as u64));
        let links = self.carried(network).into_iter().enumerate();
        let links = links.map(|(n, bytes)| LinkState {
            bytes,
            cut: n == CUT && self.cut,
        });
        self.view
            .update(self.start + virtual_time, done, &links.collect::<Vec<_>>());
    }

    fn carried(&self, network: &Network<Host>) -> Vec<u64> {
        let used = |(there, back)| if self.way == Way::Up { there } else { back };
        self.links
            .iter()
            .map(|pair| network.link_stats(used(*pair)).delivered_bytes)
            .collect()
    }

    fn finish(self, world: &World) -> Transfer {
        let progress = |id| {
            world
                .network
                .node(id)
                .progress()
                .next()
                .cloned()
                .unwrap_or_default()
        };
        let received: Progress = progress(self.receiver);
        let since = |at: anabranch_tcp::Instant| at.since(anabranch_tcp::Instant(0));
        let elapsed = received.eof.map(since).unwrap_or_default();
        let goodput = Transfer::goodput(received.received, elapsed);
        self.view.end(&format!(
            "{} in {}, {}",
            text::bytes(received.received),
            text::time(elapsed),
            text::rate(goodput)
        ));
        Transfer {
            server: "anabranch",
            way: self.way,
            bytes: received.received,
            sha256_sent: None,
            sha256_received: None,
            equal: received.wrong.is_none() && received.received == self.size,
            seconds: elapsed.as_secs_f64(),
            longest_stall_seconds: received.longest_gap.as_secs_f64(),
            goodput_bits_per_second: goodput,
            link_bytes: self.carried(&world.network),
            subflows: self.subflows,
        }
    }
}
