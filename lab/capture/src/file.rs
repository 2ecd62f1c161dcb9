//! Packets of pcap and pcapng files.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::Path;
use std::time::Duration;

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, TsResolution};

use crate::Analyser;
use crate::report::Report;

/// The first bytes of a pcapng file.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Analyses a capture of Ethernet, raw IP, loopback or Linux "cooked" packets.
///
/// # Errors
/// The file cannot be read, is neither pcap nor pcapng, or is of another link type.
pub fn read(path: &Path) -> io::Result<Report> {
    let mut analyser = Analyser::new();
    each(path, |time, packet| analyser.packet(time, packet))?;
    Ok(analyser.report())
}

/// Calls `sink` with time and bytes of each packet, from its IP header on; one without is empty.
///
/// # Errors
/// As [`read`].
pub fn each(path: &Path, sink: impl FnMut(Duration, &[u8])) -> io::Result<()> {
    let mut magic = [0; 4];
    File::open(path)?.read_exact(&mut magic)?;
    let file = BufReader::new(File::open(path)?);
    if magic == PCAPNG {
        each_pcapng(file, sink)
    } else {
        each_pcap(file, sink)
    }
}

fn each_pcap(file: BufReader<File>, mut sink: impl FnMut(Duration, &[u8])) -> io::Result<()> {
    let mut reader = PcapReader::new(file).map_err(io::Error::other)?;
    let link = known(reader.header().datalink)?;
    let unit = match reader.header().ts_resolution {
        TsResolution::MicroSecond => 1000,
        TsResolution::NanoSecond => 1,
    };
    // A packet larger than the file's limit is read all the same: superframes are.
    while let Some(packet) = reader.next_raw_packet() {
        let packet = packet.map_err(io::Error::other)?;
        let fraction = u64::from(packet.ts_frac) * unit;
        let time = Duration::from_secs(packet.ts_sec.into()) + Duration::from_nanos(fraction);
        sink(time, network(link, &packet.data));
    }
    Ok(())
}

fn each_pcapng(file: BufReader<File>, mut sink: impl FnMut(Duration, &[u8])) -> io::Result<()> {
    let mut reader = PcapNgReader::new(file).map_err(io::Error::other)?;
    let mut interfaces = Vec::new();
    while let Some(block) = reader.next_block() {
        match block.map_err(io::Error::other)? {
            Block::SectionHeader(_) => interfaces.clear(),
            Block::InterfaceDescription(block) => {
                interfaces.push((known(block.linktype)?, resolution(&block)));
            }
            Block::EnhancedPacket(packet) => {
                let interface = interfaces.get(packet.interface_id as usize);
                let Some(&(link, unit)) = interface else {
                    return Err(io::Error::other("a packet of no interface"));
                };
                // The reader takes every timestamp for nanoseconds.
                let units = packet.timestamp.as_nanos() as f64;
                sink(
                    Duration::from_secs_f64(units * unit),
                    network(link, &packet.data),
                );
            }
            Block::SimplePacket(packet) => {
                let link = interfaces.first().map_or(DataLink::ETHERNET, |i| i.0);
                sink(Duration::ZERO, network(link, &packet.data));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Seconds of one unit of an interface's timestamps.
fn resolution(block: &InterfaceDescriptionBlock<'_>) -> f64 {
    let told = block.options.iter().find_map(|option| match option {
        InterfaceDescriptionOption::IfTsResol(value) => Some(*value),
        _ => None,
    });
    match told {
        None => 1e-6,
        Some(value) if value & 0x80 != 0 => 2f64.powi(-i32::from(value & 0x7f)),
        Some(value) => 10f64.powi(-i32::from(value)),
    }
}

fn known(link: DataLink) -> io::Result<DataLink> {
    match link {
        DataLink::ETHERNET
        | DataLink::LINUX_SLL
        | DataLink::LINUX_SLL2
        | DataLink::RAW
        | DataLink::IPV4
        | DataLink::IPV6
        | DataLink::NULL
        | DataLink::LOOP => Ok(link),
        // Raw IP has had other numbers.
        DataLink::Unknown(12 | 14) => Ok(DataLink::RAW),
        other => {
            let text = format!("link type {other:?} is not understood");
            Err(io::Error::other(text))
        }
    }
}

/// A frame from its network header on.
fn network(link: DataLink, frame: &[u8]) -> &[u8] {
    let skip = match link {
        DataLink::ETHERNET => {
            // VLAN tags stand before the type.
            let tagged = |at: usize| matches!(frame.get(at..at + 2), Some([0x81 | 0x88, 0 | 0xa8]));
            let mut at = 12;
            while tagged(at) {
                at += 4;
            }
            at + 2
        }
        DataLink::LINUX_SLL => 16,
        DataLink::LINUX_SLL2 => 20,
        DataLink::NULL | DataLink::LOOP => 4,
        _ => 0,
    };
    frame.get(skip..).unwrap_or_default()
}
