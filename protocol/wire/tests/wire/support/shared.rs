//! What several test files share: real traffic from the shared folder.

use std::path::{Path, PathBuf};

/// One captured packet, from the IP header on.
pub(crate) struct Captured {
    /// File and number of the packet in it, counted from 1 as tshark does.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Nothing was cut off by the capture's snap length.
    pub(crate) complete: bool,
}

/// The captures of the shared folder: `ANABRANCH_SHARED`, or `../shared` beside the workspace.
/// `None`, with the reason printed, where there is none; under `CI=true` that is a failure.
pub(crate) fn captures() -> Option<Vec<Captured>> {
    let shared = std::env::var_os("ANABRANCH_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let folder = shared.join("captures");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!in_ci, "no captures in {}", folder.display());
        eprintln!("skipped: no captures in {}", folder.display());
        return None;
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "pcap")
    });
    files.sort();
    assert!(!files.is_empty(), "no captures in {}", folder.display());
    Some(files.iter().flat_map(|path| read(path)).collect())
}

/// Reads a classic pcap file: a header of 24 bytes, then records of 16 bytes and a packet each.
fn read(path: &Path) -> Vec<Captured> {
    let bytes = std::fs::read(path).unwrap();
    let file = path.file_name().unwrap().to_string_lossy().into_owned();
    let field = |at: usize| {
        let four: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
        match bytes[0] {
            0xd4 | 0x4d => u32::from_le_bytes(four),
            _ => u32::from_be_bytes(four),
        }
    };
    assert!(
        matches!(field(0), 0xa1b2_c3d4 | 0xa1b2_3c4d),
        "{file} is no pcap file"
    );
    let link_len = match field(20) {
        1 => 14,   // Ethernet
        101 => 0,  // raw IP
        113 => 16, // Linux "cooked"
        276 => 20, // Linux "cooked", version 2
        other => panic!("{file}: link type {other}"),
    };
    let (mut packets, mut at) = (Vec::new(), 24);
    while at < bytes.len() {
        let (kept, length) = (field(at + 8) as usize, field(at + 12) as usize);
        let packet = &bytes[at + 16..at + 16 + kept];
        packets.push(Captured {
            name: format!("{file}:{}", packets.len() + 1),
            bytes: packet[link_len..].to_vec(),
            complete: kept == length,
        });
        at += 16 + kept;
    }
    packets
}
