//! Removing Multipath TCP options.

use crate::network::Middlebox;
use crate::segment::{NOP, TcpView};
use anabranch_tcp::Instant;
use bytes::Bytes;

/// Overwrites Multipath TCP options with NOPs, as firewalls do, and mends the checksum.
pub struct Strip<F> {
    which: F,
    stripped: u64,
}

/// What a [`Strip`] decides by.
#[derive(Clone, Debug)]
pub struct Sighting<'a> {
    /// The packet.
    pub view: &'a TcpView,
    /// Subtype of the option (RFC 8684 §8): 0 MP_CAPABLE, 1 MP_JOIN, 2 DSS, ...
    pub subtype: u8,
    /// Virtual time.
    pub now: Instant,
}

impl<F: FnMut(&Sighting<'_>) -> bool> Strip<F> {
    /// Removes the options of which `which` says so.
    pub fn new(which: F) -> Strip<F> {
        Strip { which, stripped: 0 }
    }

    /// Options removed.
    pub fn stripped(&self) -> u64 {
        self.stripped
    }
}

impl<F: FnMut(&Sighting<'_>) -> bool> Middlebox for Strip<F> {
    fn pass(&mut self, now: Instant, packet: Bytes) -> Vec<Bytes> {
        let Ok(view) = TcpView::parse(&packet) else {
            return vec![packet];
        };
        let mut options = view.mptcp_options(&packet);
        options.retain(|(subtype, _)| {
            (self.which)(&Sighting {
                view: &view,
                subtype: *subtype,
                now,
            })
        });
        // Mending the checksum of a packet that was corrupted before would hide it.
        if options.is_empty() || !view.checksum_ok(&packet) {
            return vec![packet];
        }
        self.stripped += options.len() as u64;
        let mut bytes = packet.to_vec();
        for (_, range) in options {
            bytes[range].fill(NOP);
        }
        view.fix_checksum(&mut bytes);
        vec![bytes.into()]
    }
}
