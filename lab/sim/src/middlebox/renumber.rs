//! Changing sequence numbers.

use crate::network::Middlebox;
use crate::segment::TcpView;
use anabranch_tcp::Instant;
use bytes::Bytes;

/// Moves the sequence numbers of one direction, as firewalls that randomise them do. Its
/// counterpart in the other direction is [`Renumber::counterpart`].
#[derive(Clone, Copy, Debug)]
pub struct Renumber {
    seq: u32,
    ack: u32,
}

impl Renumber {
    /// Adds `n` to sequence numbers.
    pub fn new(n: u32) -> Renumber {
        Renumber { seq: n, ack: 0 }
    }

    /// What undoes the change in acknowledgements of the other direction.
    #[must_use]
    pub fn counterpart(self) -> Renumber {
        Renumber {
            seq: self.ack.wrapping_neg(),
            ack: self.seq.wrapping_neg(),
        }
    }
}

impl Middlebox for Renumber {
    fn pass(&mut self, _: Instant, packet: Bytes) -> Vec<Bytes> {
        const ACK: u16 = 0x10;
        let Ok(view) = TcpView::parse(&packet) else {
            return vec![packet];
        };
        if !view.checksum_ok(&packet) {
            return vec![];
        }
        let mut bytes = packet.to_vec();
        view.add(&mut bytes, 4, self.seq);
        if view.flags.0 & ACK != 0 {
            view.add(&mut bytes, 8, self.ack);
        }
        for edge in view.sack_edges(&packet) {
            view.add(&mut bytes, edge - view.ip.payload.start, self.ack);
        }
        view.fix_checksum(&mut bytes);
        vec![bytes.into()]
    }
}
