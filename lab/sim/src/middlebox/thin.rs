//! Dropping acknowledgements.

use crate::network::Middlebox;
use crate::segment::TcpView;
use anabranch_tcp::Instant;
use anabranch_wire::Seq;
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Drops ACKs that carry no payload.
#[derive(Debug)]
pub struct Thin {
    /// One of so many passes; 0: those that repeat number and window of the one before do not.
    keep: u32,
    seen: u32,
    last: BTreeMap<(SocketAddr, SocketAddr), (Seq, u16)>,
}

impl Thin {
    /// One of `n` passes (asymmetric links, RFC 3449 §5.2.1).
    pub fn one_of(n: u32) -> Thin {
        Thin {
            keep: n.max(1),
            seen: 0,
            last: BTreeMap::new(),
        }
    }

    /// Those that say nothing new to TCP do not pass, whatever options they have: a box that does
    /// not know DATA_ACKs.
    pub fn repeated() -> Thin {
        Thin {
            keep: 0,
            seen: 0,
            last: BTreeMap::new(),
        }
    }

    fn drops(&mut self, view: &TcpView, packet: &[u8]) -> bool {
        let said = (view.ack(packet), view.window(packet));
        let before = self.last.insert(view.ends(), said);
        if !view.payload.is_empty() || view.flags != Flags::ACK {
            return false;
        }
        if self.keep == 0 {
            return before == Some(said);
        }
        self.seen += 1;
        self.seen % self.keep != 1 % self.keep
    }
}

impl Middlebox for Thin {
    fn pass(&mut self, _: Instant, packet: Bytes) -> Vec<Bytes> {
        match TcpView::parse(&packet) {
            Ok(view) if self.drops(&view, &packet) => Vec::new(),
            _ => vec![packet],
        }
    }
}
