//! Whether a retransmission timeout was needed (F-RTO, RFC 5682, in its SACK-enhanced form).
//!
//! A timeout is spurious when something arrives that was sent only once, before it: then not all
//! was lost, only late. To find out, the first acknowledgement after the timeout lets out new data
//! rather than what is believed to be lost.

/// Where the question stands.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Frto {
    /// Not asked, or answered.
    #[default]
    Off,
    /// The first segment was sent again; nothing was acknowledged since.
    Waiting,
    /// New data goes ahead of what is believed to be lost.
    Probing,
}

crate::packed!(
    enum Frto {
        Off,
        Waiting,
        Probing,
    }
);

impl Frto {
    pub(crate) fn start(asked: bool) -> Frto {
        if asked { Frto::Waiting } else { Frto::Off }
    }
}
