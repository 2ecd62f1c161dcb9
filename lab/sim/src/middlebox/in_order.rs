//! Letting pass in order only.

use crate::network::Middlebox;
use crate::segment::TcpView;
use anabranch_tcp::Instant;
use anabranch_wire::Seq;
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Drops data behind a gap, as boxes that follow the stream and have no buffer do.
#[derive(Clone, Debug, Default)]
pub struct InOrder {
    next: BTreeMap<(SocketAddr, SocketAddr), Seq>,
}

impl Middlebox for InOrder {
    fn pass(&mut self, _: Instant, packet: Bytes) -> Vec<Bytes> {
        let Some(view) = TcpView::sound(&packet) else {
            return vec![packet];
        };
        let next = self.next.entry(view.ends()).or_insert(view.seq);
        if view.flags.has(Flags::SYN) {
            *next = view.seq;
        }
        if next.lt(view.seq) {
            return Vec::new();
        }
        if next.lt(view.end()) {
            *next = view.end();
        }
        vec![packet]
    }
}
