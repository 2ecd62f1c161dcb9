//! Connections between two stacks of ours, captured at the server.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use anabranch_capture::report::{End as Side, Kind};
use anabranch_mptcp::{Version, Versions};
use anabranch_sim::middlebox::{Alter, Strip};
use anabranch_sim::{End, LinkConfig, Middlebox, Path, Placed, Scene, Step, Way};
use anabranch_stack::{Announcement, Instant, SubflowId};
use bytes::Bytes;
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::{Block, PcapNgReader};

/// A scene and what its capture must show.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) version: u8,
    pub(crate) subflows: usize,
    pub(crate) falls_back: bool,
    pub(crate) wrong: Vec<(Kind, Option<Side>)>,
    scene: Scene,
    boxes: fn() -> Vec<Placed>,
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn scene(paths: usize) -> Scene {
    let path = Path::new(LinkConfig::new(10, 10));
    Scene::new(7, vec![path; paths]).bulk(300_000, 500_000)
}

fn case(name: &'static str, scene: Scene) -> Case {
    Case {
        name,
        version: 1,
        subflows: scene.paths.len(),
        falls_back: false,
        wrong: Vec::new(),
        scene,
        boxes: Vec::new,
    }
}

/// A second address of the server that is announced, joined, made a backup and withdrawn.
fn signals(checksum: bool) -> Scene {
    let mut scene = scene(3);
    scene.paths[1].v6 = true;
    scene.paths[2].join = None;
    scene.config.mptcp.checksum = checksum;
    let (local, remote) = scene.addresses(2);
    let address = Announcement {
        id: 7,
        addr: remote,
        port: None,
    };
    scene.client.join_from = Some(SocketAddr::new(local, 0));
    scene.client.steps = vec![(ms(150), Step::Backup(SubflowId(1), true))];
    scene.server.steps = vec![
        (ms(60), Step::Announce(address)),
        (ms(250), Step::Withdraw(7)),
    ];
    scene
}

fn old(scene: Scene) -> Scene {
    let old = Versions::only(Version::V0);
    scene.versions(old, old)
}

/// The client aborts in the middle.
fn aborted() -> Scene {
    let mut scene = scene(2);
    scene.client.end = End::Abort(100_000);
    scene.server.end = End::Never;
    scene
}

/// The server takes no joins.
fn refused() -> Scene {
    let mut scene = scene(2);
    let mut config = scene.config.clone();
    config.mptcp.max_subflows = 1;
    scene.server_config = Some(config);
    scene
}

fn checked(paths: usize) -> Scene {
    let mut scene = scene(paths);
    scene.config.mptcp.checksum = true;
    scene
}

/// Changes the payload of one packet.
struct AlterOne {
    packets_before: u32,
}

impl Middlebox for AlterOne {
    fn pass(&mut self, now: Instant, packet: Bytes) -> Vec<Bytes> {
        if packet.len() < 1000 {
            return vec![packet];
        }
        let before = self.packets_before;
        self.packets_before = before.wrapping_sub(1);
        if before != 0 {
            return vec![packet];
        }
        let alter = |from| Alter { from, to: !from };
        alter(packet[packet.len() - 1]).pass(now, packet)
    }
}

/// A proxy changes what the client sends.
fn altered(path: usize) -> Vec<Placed> {
    let alter = AlterOne { packets_before: 20 };
    vec![Placed::new(path, Way::There, alter)]
}

pub(crate) fn cases() -> Vec<Case> {
    let wrong = vec![(Kind::WrongChecksum, Some(Side::Client))];
    vec![
        case("version 1, joins and signals", signals(false)),
        case("version 1 with checksums", signals(true)),
        Case {
            version: 0,
            ..case("version 0, joins and signals", old(signals(true)))
        },
        Case {
            version: 0,
            ..case("version 0 aborted", old(aborted()))
        },
        case("version 1 aborted", aborted()),
        case("a join that is refused", refused()),
        Case {
            falls_back: true,
            boxes: || {
                let strip = Strip::new(|s: &anabranch_sim::middlebox::Sighting<'_>| s.subtype == 0);
                vec![Placed::new(0, Way::Back, strip)]
            },
            ..case("no MP_CAPABLE comes back", scene(1))
        },
        Case {
            falls_back: true,
            wrong: wrong.clone(),
            boxes: || altered(0),
            ..case("altered on the only subflow", checked(1))
        },
        Case {
            // The right bytes come again on the other subflow.
            wrong: [wrong, vec![(Kind::UnequalBytes, Some(Side::Client))]].concat(),
            boxes: || altered(1),
            ..case("altered on one of two subflows", checked(2))
        },
    ]
}

impl Case {
    /// Runs the scene; the capture is what passed the server's interface.
    pub(crate) fn run(&self, tag: &str) -> PathBuf {
        let name: String = self.name.replace([' ', ','], "-");
        let stem = format!("anabranch-{}-{tag}-{name}", std::process::id());
        let (all, one) = (stem.clone() + ".pcapng", stem + ".pcap");
        let (all, one) = (
            std::env::temp_dir().join(all),
            std::env::temp_dir().join(one),
        );
        let mut scene = self.scene.clone();
        scene.capture = Some(all.clone());
        let mut world = scene.build_with((self.boxes)());
        if self.wrong.is_empty() {
            world
                .run_to_end()
                .unwrap_or_else(|f| panic!("{}: {f}", self.name));
        } else {
            // Plain TCP delivers what was altered.
            world.network.run_for(Duration::from_secs(3));
        }
        drop(world);
        at_the_server(&all, &one);
        std::fs::remove_file(&all).unwrap();
        one
    }
}

/// What the second node sends and what it gets.
const SERVER: [u32; 2] = [2, 3];

/// The packets of the server.
fn at_the_server(all: &FilePath, one: &FilePath) {
    let mut reader = PcapNgReader::new(File::open(all).unwrap()).unwrap();
    let header = PcapHeader {
        datalink: DataLink::RAW,
        snaplen: 1 << 17,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(File::create(one).unwrap(), header).unwrap();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.unwrap()
            && SERVER.contains(&packet.interface_id)
        {
            let data = &packet.data;
            let packet = PcapPacket::new(packet.timestamp, packet.original_len, data);
            writer.write_packet(&packet).unwrap();
        }
    }
}
