//! One run: a connection through a box, and what became of it.

use crate::case::Case;
use anabranch_mptcp::{Version, Versions};
use anabranch_sim::middlebox::Gate;
use anabranch_sim::scene::World;
use anabranch_sim::{LinkConfig, Middlebox, Path, Placed, Progress, Report, Scene, Way, pattern};
use anabranch_stack::{CloseReason, FlowInfo, PathEvent, Protocol};
use anabranch_tcp::Instant;
use std::cell::Cell as Count;
use std::rc::Rc;
use std::time::Duration;

/// Bytes sent in a direction that has any.
const BYTES: u64 = 200_000;

/// When the transfer is under way, and not near its end.
const MIDWAY: Instant = Instant(120_000_000);

/// From when on the box acts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum From {
    /// From the first SYN on.
    Start,
    /// In the middle of the transfer.
    Midway,
}

/// Which direction it acts upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dir {
    /// Client to server.
    Up,
    /// Server to client.
    Down,
    /// Both.
    Both,
}

/// How many subflows, and which of them it stands before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// The only one.
    Only,
    /// The initial one of two.
    First,
    /// The joined one of two.
    Second,
}

/// What is sent meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Traffic {
    /// Both ends send; a mapping for each segment.
    Both,
    /// Both ends send; mappings of many segments.
    Large,
    /// The client sends.
    Up,
    /// The server sends.
    Down,
}

/// A run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cell {
    pub(crate) from: From,
    pub(crate) dir: Dir,
    pub(crate) place: Place,
    pub(crate) version: Version,
    pub(crate) checksum: bool,
    pub(crate) traffic: Traffic,
}

/// What became of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Outcome {
    /// Multipath TCP to the end, and no subflow ended before.
    Stays,
    /// Multipath TCP over the other subflow: that behind the box was reset or refused.
    Other,
    /// Plain TCP at both ends.
    Plain,
    /// Plain TCP at both ends, and the bytes are those that the box made.
    PlainAltered,
    /// Multipath TCP to the end, and the bytes are those that the box made: nobody noticed.
    StaysAltered,
    /// It ended early; what was delivered until then was right.
    Ends,
    /// It did not come to be.
    Refused,
}

/// A run that is over.
pub(crate) struct Result {
    pub(crate) outcome: Outcome,
    /// Virtual time until both applications were through.
    pub(crate) elapsed: Duration,
    /// The box found something to act upon.
    pub(crate) acted: bool,
}

impl Cell {
    /// Whether payload passes the box.
    pub(crate) fn data(&self) -> bool {
        match self.dir {
            Dir::Up => self.traffic != Traffic::Down,
            Dir::Down => self.traffic != Traffic::Up,
            Dir::Both => true,
        }
    }

    fn scene(&self, case: &Case) -> Scene {
        let paths = if self.place == Place::Only { 1 } else { 2 };
        // 1 MB/s and room for a window: what is lost is the box's doing.
        let link = LinkConfig::new(8, 10).queue(anabranch_sim::Queue::Packets(1000));
        let bytes = BYTES * paths as u64;
        let up = if self.traffic == Traffic::Down {
            0
        } else {
            bytes
        };
        let down = if self.traffic == Traffic::Up {
            0
        } else {
            bytes
        };
        let mut scene = Scene::new(1, vec![Path::new(link); paths]).bulk(up, down);
        (scene.client.keep, scene.server.keep) = (true, true);
        if self.traffic != Traffic::Large {
            scene.config.gso_max = 0;
        }
        scene.limit = Duration::from_secs(3000);
        scene.config.mptcp.versions = Versions::only(self.version);
        scene.config.mptcp.checksum = self.checksum;
        // Both ends are known not to send again as new what may be lost.
        scene.config.mptcp.plain_midway = true;
        (case.tune)(&mut scene);
        scene
    }

    /// Runs it.
    pub(crate) fn run(&self, case: &Case) -> std::result::Result<Result, String> {
        let scene = self.scene(case);
        let path = usize::from(self.place == Place::Second && !case.signals);
        let from = if self.from == From::Start {
            Instant(0)
        } else {
            MIDWAY
        };
        let mut acted: Vec<Rc<Count<u64>>> = Vec::new();
        let mut placed = Vec::new();
        for (way, middlebox) in (case.boxes)(self.dir) {
            let gate = Gate::new(from, middlebox);
            acted.push(gate.acted());
            placed.push(Placed::new(path, way, gate));
        }
        let mut world = scene.build_with(placed);
        let report = match world.run_to_end() {
            Ok(report) => report,
            Err(failure) => {
                let dead = case
                    .silent
                    .then(|| self.dead(case, &scene, &world))
                    .flatten();
                let known = dead.or_else(|| never_served(&world));
                return known.ok_or_else(|| failure.to_string());
            }
        };
        world.settle().map_err(|f| f.to_string())?;
        let acted = acted.iter().any(|a| a.get() > 0);
        Ok(Result {
            outcome: self.judge(case, &scene, &report)?,
            elapsed: report.elapsed,
            acted,
        })
    }

    /// Nothing happens any more, and what was read is right.
    fn dead(&self, case: &Case, scene: &Scene, world: &World) -> Option<Result> {
        let right = |id, key, sent| {
            let mut progress = world.network.node(id).progress();
            progress.all(|p| self.bytes(case, key, sent, p).is_right())
        };
        let both =
            right(world.server, 0, scene.client.send) && right(world.client, 1, scene.server.send);
        both.then_some(Result {
            outcome: Outcome::Ends,
            elapsed: Duration::ZERO,
            acted: true,
        })
    }

    fn judge(
        &self,
        case: &Case,
        scene: &Scene,
        report: &Report,
    ) -> std::result::Result<Outcome, String> {
        let whole =
            |p: &Progress| p.eof.is_some() && matches!(p.closed, Some((_, CloseReason::Finished)));
        let bytes = [
            self.bytes(case, 0, scene.client.send, &report.server),
            self.bytes(case, 1, scene.server.send, &report.client),
        ];
        if !whole(&report.client) || !whole(&report.server) {
            let right = bytes
                .iter()
                .all(|b| matches!(b, Bytes::Same | Bytes::Prefix));
            let ends = (report.client.closed, report.server.closed);
            return if right {
                Ok(Outcome::Ends)
            } else {
                Err(format!("ended {ends:?} with wrong bytes: {bytes:?}"))
            };
        }
        let one_way = matches!(self.traffic, Traffic::Up | Traffic::Down);
        let altered = match bytes {
            [Bytes::Same, Bytes::Same] => false,
            [Bytes::Same | Bytes::Made, Bytes::Same | Bytes::Made] => true,
            _ => return Err(format!("wrong bytes: {bytes:?}")),
        };
        let plain = [
            is_plain(&report.client_info, &report.client),
            is_plain(&report.server_info, &report.server),
        ];
        let lost = self.place != Place::Only && lost_a_subflow(report);
        match (plain, altered) {
            ([true, true], false) => Ok(Outcome::Plain),
            // Who had nothing left to say, and nothing to hear, did not have to notice.
            ([true, false] | [false, true], false) if one_way => Ok(Outcome::Plain),
            ([true, true], true) => Ok(Outcome::PlainAltered),
            ([false, false], true) if !lost => Ok(Outcome::StaysAltered),
            ([false, false], false) if lost => Ok(Outcome::Other),
            ([false, false], false) => Ok(Outcome::Stays),
            _ => Err(format!("plain {plain:?}, altered {altered}, lost {lost}")),
        }
    }

    fn bytes(&self, case: &Case, key: u64, sent: u64, read: &Progress) -> Bytes {
        let was = pattern::bytes(key, 0, sent as usize);
        let is = &read.kept.0[..];
        if is == was {
            Bytes::Same
        } else if was.starts_with(is) {
            Bytes::Prefix
        } else if case.made.is_some_and(|made| made(&was, is)) {
            Bytes::Made
        } else {
            let at = is.iter().zip(&was).take_while(|(a, b)| a == b).count();
            Bytes::Wrong { at, len: is.len() }
        }
    }
}

/// What the client saw of a connection that no application of the server ever did.
fn never_served(world: &World) -> Option<Result> {
    let host = |id| world.network.node(id);
    let progress = host(world.client).progress().next()?;
    let (at, reason) = progress.closed?;
    if host(world.server).progress().next().is_some() {
        return None;
    }
    let refused = reason == CloseReason::Refused && progress.established.is_none();
    Some(Result {
        outcome: if refused {
            Outcome::Refused
        } else {
            Outcome::Ends
        },
        elapsed: at.since(Instant(0)),
        acted: true,
    })
}

/// What an application read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bytes {
    /// What was sent.
    Same,
    /// The beginning of it.
    Prefix,
    /// What the box made of it.
    Made,
    /// Anything else.
    Wrong { at: usize, len: usize },
}

impl Bytes {
    fn is_right(&self) -> bool {
        matches!(self, Bytes::Same | Bytes::Prefix)
    }
}

/// Plain from the start, or at the last.
fn is_plain(info: &Option<FlowInfo>, progress: &Progress) -> bool {
    let mptcp = |p| matches!(p, Protocol::Mptcp(m) if !m.fallback);
    let fell = |(_, event): &(Instant, PathEvent)| matches!(event, PathEvent::Fallback(_));
    let started = info.as_ref().is_some_and(|info| mptcp(info.protocol));
    !started || progress.paths.iter().any(fell)
}

/// Whether one of two subflows never came to be, or ended early.
fn lost_a_subflow(report: &Report) -> bool {
    let gone = |p: &Progress| {
        use anabranch_stack::SubflowEnd::Closed;
        let early = |e: &PathEvent| matches!(e, PathEvent::SubflowGone(_, why) if *why != Closed);
        let up = |e: &PathEvent| matches!(e, PathEvent::SubflowUp(_));
        let joined = p.paths.iter().any(|(_, event)| up(event));
        !joined || p.paths.iter().any(|(_, event)| early(event))
    };
    gone(&report.client) || gone(&report.server)
}

/// One box for each direction that `dir` names.
pub(crate) fn each<M: Middlebox + 'static>(
    dir: Dir,
    make: impl Fn() -> M,
) -> Vec<(Way, Box<dyn Middlebox>)> {
    let ways: &[Way] = match dir {
        Dir::Up => &[Way::There],
        Dir::Down => &[Way::Back],
        Dir::Both => &[Way::There, Way::Back],
    };
    let boxed = |way: &Way| -> (Way, Box<dyn Middlebox>) { (*way, Box::new(make())) };
    ways.iter().map(boxed).collect()
}
