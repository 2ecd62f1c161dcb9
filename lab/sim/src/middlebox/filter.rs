//! Dropping packets.

use crate::network::Middlebox;
use crate::segment::TcpView;
use anabranch_tcp::Instant;
use bytes::Bytes;

/// Drops packets.
pub struct Filter<F> {
    drops: F,
}

impl<F: FnMut(&TcpView, &[u8]) -> bool> Filter<F> {
    /// Drops the TCP packets of which `drops`, given the view and the bytes, says so.
    pub fn new(drops: F) -> Filter<F> {
        Filter { drops }
    }
}

impl<F: FnMut(&TcpView, &[u8]) -> bool> Middlebox for Filter<F> {
    fn pass(&mut self, _: Instant, packet: Bytes) -> Vec<Bytes> {
        match TcpView::parse(&packet) {
            Ok(view) if (self.drops)(&view, &packet) => vec![],
            _ => vec![packet],
        }
    }
}
