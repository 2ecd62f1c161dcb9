//! Fast Open (RFC 7413) with MP_CAPABLE: RFC 8684 §B. Payload of a SYN leaves before any key is
//! known, so it is no part of the data sequence: what follows it, on the subflow and in the data
//! sequence, begins at 1.

use crate::connection::{Connection, Mode};
use crate::handshake::Role;
use crate::keys::Version;
use crate::subflow::Subflow;
use anabranch_tcp::packed;
use anabranch_tcp::{Instant, Segment};
use anabranch_wire::tcp::FastOpen;
use bytes::Bytes;

/// Bytes of payload that SYNs of the initial subflow carried and SYN+ACKs acknowledged.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct SynData {
    pub(crate) sent: u32,
    pub(crate) received: u32,
}

packed!(SynData { sent, received });

/// Option space of a TCP header, and what the options of a SYN take with timestamps, bytes.
const OPTION_SPACE: usize = 40;
const WITH_TIMESTAMPS: usize = 20;

impl Connection {
    /// Fast Open for an active open, before the first [`Connection::poll_transmit`]: see
    /// [`anabranch_tcp::Tcb::set_fast_open`]. With a cookie, bytes sent before go with the SYN. It
    /// is for version 1: version 0 says nothing of the place of such bytes.
    pub fn set_fast_open(&mut self, option: FastOpen, mss: u16) {
        if self.handshake.version != Version::V1 {
            return;
        }
        let tcb = &mut self.paths.list[0].tcb;
        if WITH_TIMESTAMPS + option_len(&option) + 4 > OPTION_SPACE {
            tcb.forgo_timestamps();
        }
        tcb.set_fast_open(option, mss);
    }

    /// The SYN+ACK of a passive open gives this cookie; timestamps make room for it beside
    /// MP_CAPABLE (RFC 8684 §B.1).
    pub fn grant_fast_open(&mut self, option: FastOpen) {
        let tcb = &mut self.paths.list[0].tcb;
        if WITH_TIMESTAMPS + option_len(&option) + 12 > OPTION_SPACE {
            tcb.forgo_timestamps();
        }
        tcb.grant_fast_open(option);
    }

    /// Take the payload of the SYN that made this connection, of version 1, which the owner found
    /// to have a valid cookie. What answers it waits for the peer's key.
    pub fn take_syn_payload(&mut self, now: Instant, syn: &Segment, payload: Bytes) {
        let grant = self.grant(0);
        let subflow = &mut self.paths.list[0];
        let receipt = subflow.tcb.take_syn_payload(now, syn, grant);
        subflow.syn_data.received = receipt.rcv_nxt as u32;
        self.handshake.syn_data = subflow.syn_data.received;
        for range in &receipt.new {
            let position = receipt.rel_start + i64::from(range.start);
            let bytes = payload.slice(range.start as usize..range.end as usize);
            self.rx.insert(position as u64, bytes, false);
        }
        self.update(now);
    }

    /// What goes with our SYN, if anything.
    pub(crate) fn speak_early(&mut self, now: Instant) {
        let first = self.handshake.role == Role::Initiator && self.handshake.syns == 0;
        let Some(subflow) = self.paths.list.first().filter(|_| first) else {
            return;
        };
        let (id, tcb) = (subflow.id, &subflow.tcb);
        let room = tcb.fast_open_room().min(self.tx.unassigned());
        if room == 0 || tcb.snd_end() > 0 {
            return;
        }
        let run = self.tx.assign(now, room, (id, room), false);
        self.map(id, &run);
    }

    /// The SYN+ACK came, with MP_CAPABLE: what of our SYN's payload it acknowledged is done with;
    /// the rest is the first data.
    pub(crate) fn syn_payload_answered(&mut self) {
        let sent = self.tx.next();
        let Some(outcome) = self.paths.list[0].tcb.fast_open_outcome() else {
            return;
        };
        let accepted = outcome.accepted.min(sent);
        if sent == 0 {
            return;
        }
        self.handshake.local.syn_data = accepted as u32;
        self.paths.list[0].syn_data.sent = accepted as u32;
        self.tx.acknowledge(accepted);
        self.paths.list[0].tx.clear();
        if let Some(rest) = self.tx.head().cloned() {
            let mapping = self.mapping(0, &rest, accepted);
            self.paths.list[0].tx.push(mapping);
        }
    }

    /// The position of the first data that has a mapping.
    pub(crate) fn first_data(&self) -> u64 {
        self.handshake.local.syn_data.into()
    }

    /// Whether nothing was sent but a SYN.
    pub(crate) fn only_syn_sent(&self, subflow: &Subflow) -> bool {
        self.mode == Mode::Multipath && subflow.tcb.snd_nxt() <= subflow.syn_data.sent.into()
    }
}

impl Subflow {
    /// The relative subflow sequence number of a position, as mappings have it.
    pub(crate) fn ssn(&self, rel: u64) -> u32 {
        (rel as u32)
            .wrapping_add(1)
            .wrapping_sub(self.syn_data.sent)
    }
}

/// What the option takes, with padding.
fn option_len(option: &FastOpen) -> usize {
    let head = if option.experimental { 4 } else { 2 };
    (head + option.cookie.len()).next_multiple_of(4)
}
