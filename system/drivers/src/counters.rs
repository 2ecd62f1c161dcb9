/// Packets and bytes of a device since it was opened. A super-frame counts as one packet.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes of them, from the IP header on.
    pub rx_bytes: u64,
    /// Frames dropped for a malformed device header, or cut short by the device.
    pub rx_errors: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes of them, from the IP header on.
    pub tx_bytes: u64,
    /// Packets the device refused for good: they are lost.
    pub tx_errors: u64,
    /// Times the device was full and the caller kept the packet.
    pub tx_full: u64,
}
