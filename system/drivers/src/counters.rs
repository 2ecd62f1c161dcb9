use std::io::{self, ErrorKind};

/// Packets and bytes of a device since it was opened. A super-frame counts as one packet.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes of them, from the IP header on.
    pub rx_bytes: u64,
    /// Frames dropped for a malformed device header, or cut short by the device.
    pub rx_errors: u64,
    /// Frames for which the device had no buffer, where it tells.
    pub rx_dropped: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes of them, from the IP header on.
    pub tx_bytes: u64,
    /// Packets the device refused for good: they are lost.
    pub tx_errors: u64,
    /// Times the device was full and the caller kept the packet.
    pub tx_full: u64,
}

impl Counters {
    /// Counts the outcome of handing `bytes` to the device.
    pub(crate) fn sent(&mut self, bytes: usize, outcome: &io::Result<()>) {
        match outcome {
            Ok(()) => {
                self.tx_packets += 1;
                self.tx_bytes += bytes as u64;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.tx_full += 1,
            Err(_) => self.tx_errors += 1,
        }
    }

    /// Counts a frame of `bytes`.
    pub(crate) fn received(&mut self, bytes: usize) {
        self.rx_packets += 1;
        self.rx_bytes += bytes as u64;
    }
}
