//! The boxes.

use crate::case::Case;
use crate::cell::{Cell, Dir, From, Outcome, Place, Traffic, each};
use Outcome::{Ends, Other, Plain, PlainAltered, Refused, Stays, StaysAltered};
use anabranch_mptcp::Version::{V0, V1};
use anabranch_sim::middlebox::*;
use anabranch_sim::segment::TcpView;
use anabranch_sim::{Loss, Middlebox, Way};
use anabranch_wire::tcp::Flags;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const CAPABLE: u8 = 0;
const JOIN: u8 = 1;
const DSS: u8 = 2;
const ADD_ADDR: u8 = 3;

fn syn(s: &Sighting<'_>) -> bool {
    s.view.flags.has(Flags::SYN)
}

fn strip(dir: Dir, which: fn(&Sighting<'_>) -> bool) -> Vec<(Way, Box<dyn Middlebox>)> {
    each(dir, || Strip::new(which))
}

pub(crate) fn all() -> Vec<Case> {
    let groups = [
        handshake(),
        syn_options(),
        options(),
        segments(),
        headers(),
        drops(),
    ];
    groups.into_iter().flatten().collect()
}

const UP: &[Dir] = &[Dir::Up];
const DOWN: &[Dir] = &[Dir::Down];
const ONE_WAY: &[Dir] = &[Dir::Up, Dir::Down];
const BOTH: &[Dir] = &[Dir::Both];

/// What must not fail on the initial subflow, and costs only itself on another.
fn opening(cell: &Cell, initial: Outcome) -> Outcome {
    if cell.place == Place::Second {
        Other
    } else {
        initial
    }
}

/// Handshake options (RFC 8684 §3.1, §3.2, §3.7).
fn handshake() -> Vec<Case> {
    const INITIAL: &[Place] = &[Place::Only, Place::First];
    const JOINED: &[Place] = &[Place::Second];
    let capable = |name, boxes| {
        Case::new(name, boxes)
            .start()
            .places(INITIAL)
            .expect(|_| Plain)
    };
    let join = |name, boxes| {
        Case::new(name, boxes)
            .start()
            .places(JOINED)
            .expect(|_| Other)
    };
    vec![
        capable("MP_CAPABLE stripped from SYN", |d| {
            strip(d, |s| s.subtype == CAPABLE && syn(s))
        })
        .dirs(UP),
        capable("MP_CAPABLE stripped from SYN+ACK", |d| {
            strip(d, |s| s.subtype == CAPABLE && syn(s))
        })
        .dirs(DOWN),
        // With data at once there is no third ACK without; it carries the keys itself. In version 0
        // the SYN had the client's key, and a DSS is as good a proof.
        capable("MP_CAPABLE stripped from third ACK", |d| {
            strip(d, |s| {
                s.subtype == CAPABLE && !syn(s) && s.view.payload.is_empty()
            })
        })
        .dirs(UP)
        .expect(|c| {
            if c.version == V0 || c.data() {
                Stays
            } else {
                Plain
            }
        }),
        capable("MP_CAPABLE stripped from third ACK and data", |d| {
            strip(d, |s| s.subtype == CAPABLE && !syn(s))
        })
        .dirs(UP)
        .expect(|c| if c.version == V0 { Stays } else { Plain }),
        join("MP_JOIN stripped from SYN", |d| {
            strip(d, |s| s.subtype == JOIN && syn(s))
        })
        .dirs(UP),
        join("MP_JOIN stripped from SYN+ACK", |d| {
            strip(d, |s| s.subtype == JOIN && syn(s))
        })
        .dirs(DOWN),
        join("MP_JOIN stripped from third ACK", |d| {
            strip(d, |s| s.subtype == JOIN && !syn(s))
        })
        .dirs(UP),
        Case::new("SYN with unknown option dropped", |d| {
            each(d, || {
                Filter::new(|v: &TcpView, p: &[u8]| v.flags.has(Flags::SYN) && v.has_mptcp(p))
            })
        })
        .start()
        .dirs(ONE_WAY)
        .expect(|c| opening(c, Plain))
        .within(20),
        // Nobody can tell the box's reset from one of a server that does not listen.
        Case::new("SYN with unknown option reset", |d| {
            each(d, || {
                let unknown = |v: &TcpView, p: &[u8]| v.flags.has(Flags::SYN) && v.has_mptcp(p);
                Reject::new(Tell::Sender, unknown)
            })
        })
        .start()
        .dirs(ONE_WAY)
        .expect(|c| opening(c, if c.dir == Dir::Up { Refused } else { Plain }))
        .within(20),
        Case::new("option of the SYN sent back on SYN+ACK", |_| {
            vec![(Way::Both, Box::new(Echo::default()))]
        })
        .start()
        .dirs(BOTH)
        .expect(|c| opening(c, Plain)),
    ]
}

/// Other options of SYNs.
fn syn_options() -> Vec<Case> {
    const TIMESTAMPS: &[u8] = &[8];
    const WINDOW_SCALE: &[u8] = &[3];
    const SACK: &[u8] = &[4];
    vec![
        Case::new("every option stripped from SYNs", |d| {
            each(d, || Forget {
                kinds: &[],
                syn_only: true,
            })
        })
        .start()
        .expect(|c| opening(c, Plain))
        .within(60),
        Case::new("timestamps stripped from SYNs", |d| {
            each(d, || Forget {
                kinds: TIMESTAMPS,
                syn_only: true,
            })
        })
        .start(),
        // One end scales what the other does not: TCP is slow then too.
        Case::new("window scale stripped from SYNs", |d| {
            each(d, || Forget {
                kinds: WINDOW_SCALE,
                syn_only: true,
            })
        })
        .start()
        .within(60),
        Case::new("SACK stripped from SYNs", |d| {
            each(d, || Forget {
                kinds: SACK,
                syn_only: true,
            })
        })
        .start(),
        Case::new("segment size lowered", |d| each(d, || Clamp::Mss(536))).start(),
    ]
}

/// Options that vanish while there is data: the only subflow goes on as plain TCP, one of several
/// is broken where data lost its mappings (RFC 8684 §3.7).
fn vanish(cell: &Cell) -> Outcome {
    match (cell.place, cell.from) {
        (Place::Only, _) | (Place::First, From::Start) => Plain,
        _ if cell.data() => Other,
        _ => Stays,
    }
}

fn options() -> Vec<Case> {
    vec![
        Case::new("DSS stripped", |d| strip(d, |s| s.subtype == DSS)).expect(vanish),
        Case::new("every MPTCP option stripped after SYNs", |d| {
            strip(d, |s| !syn(s))
        })
        .expect(|c| {
            let join = c.place == Place::Second && c.from == From::Start && c.dir != Dir::Down;
            if join { Other } else { vanish(c) }
        }),
        Case::new("every option of every segment stripped", |d| {
            each(d, || Forget {
                kinds: &[],
                syn_only: false,
            })
        })
        .expect(|c| {
            if c.from == From::Start {
                opening(c, Plain)
            } else {
                vanish(c)
            }
        })
        .within(60),
        Case::new("timestamps stripped from every segment", |d| {
            each(d, || Forget {
                kinds: &[8],
                syn_only: false,
            })
        }),
        Case::new("options in opposite order", |d| {
            each(d, || Shuffle::Reverse)
        }),
        Case::new("options padded by NOPs", |d| each(d, || Shuffle::Pad)),
        Case::new("MPTCP options twice", |d| each(d, || Shuffle::Duplicate)),
        Case::new("ADD_ADDR stripped", |d| strip(d, |s| s.subtype == ADD_ADDR))
            .start()
            .signals()
            .places(&[Place::Second])
            .tune(announced)
            .expect(unheard),
        Case::new("address in ADD_ADDR altered", |d| {
            each(d, || Readdress(Ipv4Addr::new(192, 0, 2, 1)))
        })
        .start()
        .signals()
        .places(&[Place::Second])
        .tune(announced)
        .expect(unannounced),
    ]
}

/// The server announces; what the client sends is an echo, and the join is under way.
fn unannounced(cell: &Cell) -> Outcome {
    if cell.dir == Dir::Up { Stays } else { Other }
}

/// ADD_ADDR may be alone on the segment that acknowledges the client's first data of version 1. What is left of it
/// then is an acknowledgement without any option: plain TCP (RFC 8684 §3.7).
fn unheard(cell: &Cell) -> Outcome {
    match unannounced(cell) {
        Other if cell.version == V1 && cell.traffic != Traffic::Down => Plain,
        outcome => outcome,
    }
}

/// The second path is announced instead of joined unasked.
fn announced(scene: &mut anabranch_sim::Scene) {
    scene.paths[1].join = None;
    let (local, remote) = scene.addresses(1);
    scene.client.join_from = Some((local, 0).into());
    scene.server.steps.push((
        Duration::ZERO,
        anabranch_sim::Step::Announce(anabranch_stack::Announcement {
            id: 1,
            addr: remote,
            port: None,
        }),
    ));
}

/// The first bytes of all come without a mapping. A server that speaks version 0 has seen a DSS on
/// the third ACK: it knows that options pass, and waits.
fn unmapped_at_first(cell: &Cell) -> Outcome {
    let first = cell.place != Place::Second && cell.from == From::Start;
    let to_client = cell.dir != Dir::Up && cell.traffic != Traffic::Up;
    if first && cell.data() && (cell.version == V1 || to_client) {
        Plain
    } else {
        Stays
    }
}

/// Payload and its mappings (RFC 8684 §3.3, §3.7).
fn segments() -> Vec<Case> {
    const HOLD: Duration = Duration::from_millis(2);
    vec![
        Case::new("payload altered", |d| {
            each(d, || Alter {
                from: 0x55,
                to: 0xaa,
            })
        })
        .made(altered)
        .expect(|c| match (c.place, c.from) {
            _ if !c.data() => Stays,
            _ if !c.checksum => StaysAltered,
            (Place::Only, _) | (Place::First, From::Start) => PlainAltered,
            _ => Other,
        }),
        Case::new("cut in two, options on both", |d| {
            each(d, || Split(Keep::Both))
        }),
        Case::new("cut in two, options on the first", |d| {
            each(d, || Split(Keep::First))
        }),
        // The first bytes of all come without a mapping.
        Case::new("cut in two, options on the last", |d| {
            each(d, || Split(Keep::Last))
        })
        .expect(unmapped_at_first),
        Case::new("two merged, options of the first", |d| {
            each(d, || Merge::new(Keep::First, HOLD))
        }),
        // The same, but what follows has mappings: they are not gone.
        Case::new("two merged, options of the last", |d| {
            each(d, || Merge::new(Keep::Last, HOLD))
        })
        .places(&[Place::Only, Place::Second])
        .within(20),
        Case::new("sent again cut otherwise, options of the first", |d| {
            each(d, || Respool::new(Keep::First))
        }),
        Case::new("sent again cut otherwise, options of the last", |d| {
            each(d, || Respool::new(Keep::Last))
        }),
        Case::new("dropped behind a gap", |_| {
            vec![(Way::Both, Box::new(InOrder::default()))]
        })
        .dirs(BOTH)
        .tune(|scene| {
            for path in &mut scene.paths {
                path.there.loss = Loss::Random(0.01);
            }
        }),
    ]
}

fn altered(sent: &[u8], read: &[u8]) -> bool {
    let may = |(was, is): (&u8, &u8)| was == is || (*was, *is) == (0x55, 0xaa);
    sent.len() == read.len() && sent.iter().zip(read).all(may)
}

/// Headers of TCP and IP.
fn headers() -> Vec<Case> {
    vec![
        Case::new("sequence numbers moved", |d| {
            counterparts(d, Renumber::new(0x9000_0001), Renumber::counterpart)
        })
        .start(),
        Case::new("timestamps moved", |d| {
            counterparts(d, Restamp::new(0x9000_0001), Restamp::counterpart)
        })
        .start(),
        Case::new("ports translated", |_| translated())
            .start()
            .dirs(BOTH),
        // The server resets what it does not know.
        Case::new("ports translated to others than before", |_| translated())
            .midway()
            .dirs(BOTH)
            .expect(broken)
            .silent()
            .within(70),
        Case::new("windows lowered", |d| each(d, || Clamp::Window(20))),
    ]
}

/// A path that ends: without another there is nothing left to go on with.
fn broken(cell: &Cell) -> Outcome {
    if cell.place == Place::Only {
        Ends
    } else {
        Other
    }
}

/// The same for what lets nothing pass that has options: where that is from the start on, there is
/// no second path yet.
fn closed(cell: &Cell) -> Outcome {
    let early = cell.place == Place::First && cell.from == From::Start && cell.dir != Dir::Down;
    if early { Ends } else { broken(cell) }
}

/// A path where nothing arrives, and nobody says so, is not used while there is another.
fn silence(cell: &Cell) -> Outcome {
    if closed(cell) == Other { Stays } else { Ends }
}

/// Segments dropped, added and reset.
fn drops() -> Vec<Case> {
    vec![
        Case::new("three of four ACKs dropped", |d| {
            each(d, || Thin::one_of(4))
        }),
        Case::new("ACKs with only a DATA_ACK dropped", |d| {
            each(d, Thin::repeated)
        }),
        Case::new("keepalives from the box", |d| {
            each(d, || Keepalive::new(Duration::from_millis(15), 0))
        }),
        Case::new("keepalives from the box, with a byte", |d| {
            each(d, || Keepalive::new(Duration::from_millis(15), 1))
        }),
        Case::new("reset in the name of both", |d| {
            each(d, || Reject::new(Tell::Both, once()))
        })
        .midway()
        .dirs(ONE_WAY)
        .expect(broken)
        .within(70),
        Case::new("segments with unknown options reset", |d| {
            each(d, || Reject::new(Tell::Both, unknown))
        })
        .expect(closed)
        .within(70),
        Case::new("segments with unknown options dropped", |d| {
            each(d, || Filter::new(unknown))
        })
        .expect(|c| match (c.place, c.from) {
            (Place::Second, From::Start) => Other,
            _ => silence(c),
        })
        .silent()
        .within(2000),
        Case::new("everything dropped", |d| {
            each(d, || Filter::new(|_: &TcpView, _: &[u8]| true))
        })
        .midway()
        .expect(silence)
        .silent()
        .within(2000),
    ]
}

fn unknown(view: &TcpView, packet: &[u8]) -> bool {
    !view.flags.has(Flags::SYN) && view.has_mptcp(packet)
}

/// True of the first segment that is no SYN.
fn once() -> impl FnMut(&TcpView, &[u8]) -> bool {
    let mut done = false;
    move |view, _| !view.flags.has(Flags::SYN) && !std::mem::replace(&mut done, true)
}

/// The client's ports become others, whichever path it is on.
fn translated() -> Vec<(Way, Box<dyn Middlebox>)> {
    let nat = |path: u8| -> (Way, Box<dyn Middlebox>) {
        let client: IpAddr = Ipv4Addr::new(10, 0, path, 1).into();
        let nat = Nat {
            inside: client,
            outside: client,
            flip: 3,
        };
        (Way::Both, Box::new(nat))
    };
    vec![nat(0), nat(1)]
}

/// `box_` and what undoes it in the other direction.
fn counterparts<M: Middlebox + Copy + 'static>(
    dir: Dir,
    there: M,
    back: fn(M) -> M,
) -> Vec<(Way, Box<dyn Middlebox>)> {
    let pair = |a: Way, b: Way| -> Vec<(Way, Box<dyn Middlebox>)> {
        vec![(a, Box::new(there)), (b, Box::new(back(there)))]
    };
    match dir {
        Dir::Up => pair(Way::There, Way::Back),
        Dir::Down => pair(Way::Back, Way::There),
        Dir::Both => [pair(Way::There, Way::Back), pair(Way::Back, Way::There)]
            .into_iter()
            .flatten()
            .collect(),
    }
}
