//! Who sent wrong bytes: a capture, and a judge over it.
//!
//! When the two ends of a transfer disagree about its bytes, either the sender put wrong bytes
//! under a mapping, or the receiver put right bytes in the wrong place. (Linux 6.18 does the
//! latter now and then when a mapping overlaps what was delivered before.) A capture decides:
//! every payload byte under a mapping has a place in the stream, and at each place there is only
//! one right byte.

mod flow;
mod judge;
mod packet;
mod record;

pub use judge::{Judge, Opinion, StreamReport, Wrong};
pub use record::{Capture, Recording, read_pcap};
