//! What passed: a hash over every packet and its time, and a capture to look at.

use crate::rng::mix;
use anabranch_tcp::Instant;
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::time::Duration;

/// Sees every packet that a host sends or gets.
#[derive(Default)]
pub struct Tap {
    hash: u64,
    packets: u64,
    capture: Option<PcapNgWriter<BufWriter<File>>>,
}

impl Tap {
    /// Also writes a pcapng file, with an interface for each of `names`.
    pub fn capture(&mut self, path: &Path, names: &[String]) -> io::Result<()> {
        let file = BufWriter::new(File::create(path)?);
        let mut writer = PcapNgWriter::new(file).map_err(io::Error::other)?;
        for name in names {
            let block = InterfaceDescriptionBlock {
                linktype: DataLink::RAW,
                snaplen: 0,
                options: vec![
                    InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                    InterfaceDescriptionOption::IfTsResol(9),
                ],
            };
            writer.write_pcapng_block(block).map_err(io::Error::other)?;
        }
        self.capture = Some(writer);
        Ok(())
    }

    /// A packet passed interface number `interface` at `now`.
    pub(crate) fn see(&mut self, now: Instant, interface: u32, data: &[u8]) {
        self.packets += 1;
        self.hash = mix(self.hash ^ now.0 ^ (u64::from(interface) << 56));
        for chunk in data.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.hash = mix(self.hash ^ u64::from_le_bytes(word));
        }
        if let Some(writer) = &mut self.capture {
            let block = EnhancedPacketBlock {
                interface_id: interface,
                timestamp: Duration::from_nanos(now.0),
                original_len: data.len() as u32,
                data: Cow::Borrowed(data),
                options: vec![],
            };
            // A full disk spoils the capture, not what is captured.
            if writer.write_pcapng_block(block).is_err() {
                self.capture = None;
            }
        }
    }

    /// A hash over all packets so far, their bytes, times and interfaces.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Packets seen.
    pub fn packets(&self) -> u64 {
        self.packets
    }
}
