//! One subflow as a capture shows it.

use std::net::SocketAddr;

use crate::flow::Flow;
use crate::packet::{FIN, RST, Segment};
use crate::report::{self, Carried, End, Verdict};

#[derive(Debug)]
pub(crate) struct Subflow {
    pub(crate) opener: End,
    /// The opener's address and port, and the other's.
    pub(crate) ends: (SocketAddr, SocketAddr),
    pub(crate) join: Option<Join>,
    pub(crate) times: Times,
    /// By sender: what the client sends, what the server sends.
    pub(crate) flows: [Flow; 2],
    pub(crate) carried: [Carried; 2],
    /// Payload of the SYN, which lies before the first mapping.
    pub(crate) syn_payload: u64,
    pub(crate) fins: [bool; 2],
    pub(crate) reset: Option<(End, String)>,
}

/// MP_JOIN, the opener's first.
#[derive(Debug, Default)]
pub(crate) struct Join {
    pub(crate) ids: [Option<u8>; 2],
    pub(crate) backup: [bool; 2],
    pub(crate) nonces: [Option<u32>; 2],
    pub(crate) hmacs: [Verdict; 2],
}

#[derive(Debug, Default)]
pub(crate) struct Times {
    pub(crate) opened: f64,
    pub(crate) established: Option<f64>,
    pub(crate) last: f64,
}

impl Subflow {
    pub(crate) fn new(opener: End, ends: (SocketAddr, SocketAddr), isn: Option<u32>) -> Self {
        let mut flows = [Flow::default(), Flow::default()];
        flows[opener as usize] = Flow::new(isn);
        Self {
            opener,
            ends,
            join: None,
            times: Times::default(),
            flows,
            carried: [Carried::default(); 2],
            syn_payload: 0,
            fins: [false; 2],
            reset: None,
        }
    }

    /// Payload and flags of a segment that is no SYN; gives back its place, and how much of it is
    /// new to the subflow.
    pub(crate) fn carry(&mut self, sender: End, segment: &Segment<'_>) -> Option<(u64, bool)> {
        self.fins[sender as usize] |= segment.has(FIN);
        if segment.has(RST) && self.reset.is_none() {
            self.reset = Some((sender, String::new()));
        }
        let flow = &mut self.flows[sender as usize];
        let ssn = flow.relative(segment.seq)?;
        let len = segment.payload_len as u64;
        let end = ssn.wrapping_add(len);
        if end > u64::MAX / 2 {
            // Before the SYN: a keepalive.
            return None;
        }
        let carried = &mut self.carried[sender as usize];
        carried.bytes += len;
        carried.again += flow.highest.clamp(ssn, end) - ssn;
        let fresh = end > flow.highest;
        flow.highest = flow.highest.max(end);
        Some((ssn, fresh))
    }

    fn ended(&self) -> Option<String> {
        if let Some((by, why)) = &self.reset {
            return Some(format!("RST by the {by}{why}"));
        }
        match self.fins {
            [true, true] => Some("FIN both ways".to_owned()),
            [true, false] => Some("FIN by the client only".to_owned()),
            [false, true] => Some("FIN by the server only".to_owned()),
            [false, false] => None,
        }
    }

    /// `plain`: payload without a mapping is in order.
    pub(crate) fn report(&self, plain: bool) -> report::Subflow {
        let carried = |end: End| {
            let unmapped = self.flows[end as usize].unmapped();
            Carried {
                unmapped: if plain { 0 } else { unmapped },
                ..self.carried[end as usize]
            }
        };
        report::Subflow {
            opener: self.opener,
            from: self.ends.0,
            to: self.ends.1,
            join: self.join.as_ref().map(|join| report::Join {
                ids: join.ids,
                backup: join.backup,
                hmacs: join.hmacs,
            }),
            opened: self.times.opened,
            established: self.times.established,
            last: self.times.last,
            up: carried(End::Client),
            down: carried(End::Server),
            ended: self.ended(),
        }
    }
}
