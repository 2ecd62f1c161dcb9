//! Captures of kernels, where `ANABRANCH_SHARED` has them, and both formats of files.

use std::borrow::Cow;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anabranch_capture::file;
use anabranch_capture::report::{Kind, Report, Verdict};
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};

use crate::talk::*;

/// The report of a shared capture.
fn shared(name: &str) -> Option<Report> {
    let Some(folder) = std::env::var_os("ANABRANCH_SHARED") else {
        eprintln!("skipped: ANABRANCH_SHARED names no folder with captures of kernels");
        return None;
    };
    let path = Path::new(&folder).join("captures").join(name);
    Some(file::read(&path).expect("a readable capture"))
}

#[test]
fn version_1_of_linux_with_a_join_and_checksums() {
    let Some(report) = shared("v1-join-csum.pcap") else {
        return;
    };
    assert!(!report.is_wrong(), "{report}");
    let connection = &report.connections[0];
    assert_eq!(
        (connection.up.bytes, connection.down.bytes),
        (300_000, 300_000)
    );
    assert_eq!(connection.up.missing + connection.down.missing, 0);
    let join = connection.subflows[1].join.as_ref().expect("a join");
    assert_eq!(join.hmacs, [Verdict::Right; 2]);
    assert_eq!(connection.addresses[0].hmac, Verdict::Right);
    // Linux's probes of a closed window carry any byte.
    let strange = connection.findings.iter().map(|f| f.kind);
    assert!(strange.clone().count() > 0 && strange.clone().all(|k| k == Kind::WindowProbe));
}

#[test]
fn version_0_with_four_subflows_and_checksums() {
    let Some(report) = shared("v0-pair-csum.pcap") else {
        return;
    };
    assert!(!report.is_wrong(), "{report}");
    let connection = &report.connections[0];
    assert_eq!(connection.subflows.len(), 4);
    for subflow in &connection.subflows[1..] {
        let join = subflow.join.as_ref().expect("a join");
        assert_eq!(join.hmacs, [Verdict::Right; 2]);
    }
    for stream in [&connection.up, &connection.down] {
        assert_eq!((stream.bytes, stream.missing), (2_000_000, 0));
        assert!(stream.checksums_right > 1400 && stream.checksums_wrong == 0);
        assert!(stream.data_fin_acknowledged);
    }
}

#[test]
fn every_other_capture_says_what_is_known_of_it() {
    for (name, connections, wrong) in [
        ("tcpdump-v0.pcap", 1, 0),
        ("tcpdump-v1.pcap", 1, 0),
        ("tcpdump-fclose.pcap", 1, 0),
        ("tcpdump-tcprst.pcap", 0, 0),
        ("tcpdump-aa-echo.pcap", 0, 0),
        ("tcpdump-dss-oobr.pcap", 0, 0),
        // Its ADD_ADDR has an HMAC that does not verify.
        ("tcpdump-aa-v1.pcap", 1, 1),
    ] {
        let Some(report) = shared(name) else { return };
        let found = (report.connections.len(), report.errors());
        assert_eq!(found, (connections, wrong), "{name}: {report}");
    }
}

fn conversation() -> Vec<Vec<u8>> {
    let mut packets = joined();
    packets.push(data(UP, 1, 0, b"hello"));
    packets.push(data(UP_2, 1, 5, b" world"));
    packets
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("anabranch-{}-{name}", std::process::id()))
}

#[track_caller]
fn expect_conversation(path: &Path) {
    let report = file::read(path);
    fs::remove_file(path).unwrap();
    let report = report.unwrap();
    assert!(!report.is_wrong(), "{report}");
    let connection = &report.connections[0];
    assert_eq!(connection.up.bytes, 11);
    assert!((connection.subflows[0].last - 0.6).abs() < 1e-9, "{report}");
}

#[test]
fn pcap_of_ethernet_with_a_vlan() {
    let path = temporary("vlan.pcap");
    let header = PcapHeader {
        datalink: DataLink::ETHERNET,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(File::create(&path).unwrap(), header).unwrap();
    for (i, packet) in conversation().iter().enumerate() {
        let frame = [&[0; 12][..], &[0x81, 0, 0, 7, 0x08, 0], packet].concat();
        let time = Duration::from_millis(100 * i as u64);
        let packet = PcapPacket::new(time, frame.len() as u32, &frame);
        writer.write_packet(&packet).unwrap();
    }
    drop(writer);
    expect_conversation(&path);
}

#[test]
fn pcapng_of_two_interfaces_in_microseconds_and_nanoseconds() {
    let path = temporary("two.pcapng");
    let mut writer = PcapNgWriter::new(File::create(&path).unwrap()).unwrap();
    for options in [vec![], vec![InterfaceDescriptionOption::IfTsResol(9)]] {
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::RAW,
            snaplen: 0,
            options,
        };
        writer.write_pcapng_block(block).unwrap();
    }
    for (i, packet) in conversation().iter().enumerate() {
        let interface = i as u32 % 2;
        let unit = if interface == 0 { 100_000 } else { 100_000_000 };
        let block = EnhancedPacketBlock {
            interface_id: interface,
            timestamp: Duration::from_nanos(unit * i as u64),
            original_len: packet.len() as u32,
            data: Cow::Borrowed(packet),
            options: vec![],
        };
        writer.write_pcapng_block(block).unwrap();
    }
    drop(writer);
    expect_conversation(&path);
}

#[test]
fn what_is_no_capture_is_refused() {
    let path = temporary("nothing");
    fs::write(&path, b"anything but a capture").unwrap();
    let error = file::read(&path);
    fs::remove_file(&path).unwrap();
    assert!(error.is_err());
    assert!(file::read(&path).is_err());
}
