//! What decides how much is sent and when, but for loss recovery.

use crate::congestion::{Algorithm, Controller, Init};

/// State of congestion control.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) cc: Box<dyn Controller>,
    pub(crate) usage: CwndUse,
}

/// Whether the congestion window is what limits sending.
#[derive(Debug, Default)]
pub(crate) struct CwndUse {
    /// Most bytes in the network during this round and the last.
    pub(crate) most: [u64; 2],
    /// `snd_nxt` when the round began.
    pub(crate) round: u64,
    /// Sending stopped at the window in this round or the last.
    pub(crate) blocked: [bool; 2],
}

impl Control {
    pub(crate) fn new(algorithm: Algorithm, init: Init) -> Control {
        Control {
            cc: algorithm.start(init),
            usage: CwndUse::default(),
        }
    }
}
