//! The first packets of connections and subflows: MP_CAPABLE and MP_JOIN.

use std::net::SocketAddr;

use crate::connection::{At, Connection};
use crate::keys::{self, JoinSecret, Version};
use crate::option::Mptcp;
use crate::packet::Segment;
use crate::report::{End, Kind, Verdict};
use crate::subflow::{Join, Subflow};

/// Flag A of MP_CAPABLE: checksums are required.
const CHECKSUMS: u8 = 0x80;

impl Connection {
    /// The SYN of a subflow that is known already, or the first one of the connection.
    pub(crate) fn syn(&mut self, at: At, segment: &Segment<'_>) {
        let subflow = &mut self.subflows[at.subflow];
        subflow.syn_payload = segment.payload_len as u64;
        for option in &segment.mptcp {
            if let Mptcp::Capable { flags, sender, .. } = *option {
                self.checksums |= flags & CHECKSUMS != 0;
                // Version 0: what follows from the key is known when the version is.
                if let Some(key) = sender {
                    self.hosts[at.from as usize].key.get_or_insert(key);
                }
            }
        }
    }

    /// A SYN with the token of `owner`: the other end joins.
    pub(crate) fn join(
        &mut self,
        owner: End,
        ends: (SocketAddr, SocketAddr),
        segment: &Segment<'_>,
        time: f64,
    ) -> usize {
        let mut subflow = Subflow::new(owner.other(), ends, Some(segment.seq));
        subflow.times.opened = time;
        subflow.times.last = time;
        let mut join = Join::default();
        for option in &segment.mptcp {
            if let Mptcp::JoinSyn {
                backup, id, nonce, ..
            } = *option
            {
                join.ids[0] = Some(id);
                join.backup[0] = backup;
                join.nonces[0] = Some(nonce);
            }
        }
        subflow.join = Some(join);
        self.subflows.push(subflow);
        self.subflows.len() - 1
    }

    pub(crate) fn syn_ack(&mut self, at: At, segment: &Segment<'_>) {
        let subflow = &mut self.subflows[at.subflow];
        if subflow.flows[at.from as usize].isn().is_some() {
            return;
        }
        subflow.flows[at.from as usize].set_isn(segment.seq);
        let opener = &mut subflow.flows[at.from.other() as usize];
        opener.set_isn(segment.ack.wrapping_sub(1));
        // Payload of the SYN that was not taken comes again.
        let taken = opener.relative(segment.ack).unwrap_or(1).saturating_sub(1);
        subflow.syn_payload = subflow.syn_payload.min(taken);
        if subflow.join.is_some() {
            return self.join_syn_ack(at, segment);
        }
        let capable = segment.mptcp.iter().find_map(|option| match *option {
            Mptcp::Capable {
                version,
                flags,
                sender,
                ..
            } => Some((version, flags, sender)),
            _ => None,
        });
        let Some((version, flags, key)) = capable else {
            return self.fall_back(at, "the SYN+ACK has no MP_CAPABLE");
        };
        self.version = Version::of(version);
        self.checksums |= flags & CHECKSUMS != 0;
        if let Some(key) = self.hosts[at.from.other() as usize].key {
            self.learn_key(at.from.other(), key);
        }
        if let Some(key) = key {
            self.learn_key(at.from, key);
        }
    }

    fn join_syn_ack(&mut self, at: At, segment: &Segment<'_>) {
        let answer = segment.mptcp.iter().find_map(|option| match *option {
            Mptcp::JoinSynAck {
                backup,
                id,
                hmac,
                nonce,
            } => Some((backup, id, hmac, nonce)),
            _ => None,
        });
        let Some((backup, id, hmac, nonce)) = answer else {
            let text = "the SYN+ACK of a join has no MP_JOIN".to_owned();
            return self.log.strange(at, Kind::JoinNotAnswered, text);
        };
        let Some(join) = &mut self.subflows[at.subflow].join else {
            return;
        };
        join.ids[1] = Some(id);
        join.backup[1] = backup;
        join.nonces[1] = Some(nonce);
        let expected = self.join_hmac(at);
        let expected = expected.map(|e| e[..8].iter().fold(0, |n, b| n << 8 | u64::from(*b)));
        self.judge_join(at, 1, expected.map(|e| e == hmac));
    }

    pub(crate) fn join_ack(&mut self, at: At, hmac: &[u8; 20]) {
        let expected = self.join_hmac(at);
        self.judge_join(at, 0, expected.map(|e| e == *hmac));
        let times = &mut self.subflows[at.subflow].times;
        times.established.get_or_insert(at.time);
    }

    /// The HMAC that the sender of this packet should send.
    fn join_hmac(&self, at: At) -> Option<[u8; 20]> {
        let subflow = &self.subflows[at.subflow];
        let join = subflow.join.as_ref()?;
        let key = |end: End| self.hosts[end as usize].key;
        let nonce = |end: End| join.nonces[usize::from(end != subflow.opener)];
        let secret = JoinSecret {
            keys: (key(at.from)?, key(at.from.other())?),
            nonces: (nonce(at.from)?, nonce(at.from.other())?),
        };
        Some(keys::join_hmac(self.version?, secret))
    }

    fn judge_join(&mut self, at: At, which: usize, right: Option<bool>) {
        let verdict = match right {
            None => Verdict::Unknown,
            Some(true) => Verdict::Right,
            Some(false) => Verdict::Wrong,
        };
        if verdict == Verdict::Wrong {
            let on = ["third ACK", "SYN+ACK"][which];
            let text = format!("the HMAC of MP_JOIN on the {on} is wrong");
            self.log.wrong(at, Kind::WrongJoinHmac, text);
        }
        if let Some(join) = &mut self.subflows[at.subflow].join {
            join.hmacs[which] = verdict;
        }
    }

    /// MP_CAPABLE with both keys: on the third ACK, or on the first data.
    pub(crate) fn capable_ack(&mut self, at: At, option: &Mptcp, segment: &Segment<'_>) {
        let Mptcp::Capable {
            version,
            flags,
            sender: Some(sender),
            receiver: Some(receiver),
            ..
        } = *option
        else {
            return;
        };
        if self.version.is_none() {
            self.version = Version::of(version);
            self.checksums |= flags & CHECKSUMS != 0;
        }
        let flows = &mut self.subflows[at.subflow].flows;
        flows[at.from as usize].set_isn(segment.seq.wrapping_sub(1));
        flows[at.from.other() as usize].set_isn(segment.ack.wrapping_sub(1));
        for (owner, key) in [(at.from, sender), (at.from.other(), receiver)] {
            let known = self.hosts[owner as usize].key;
            if known.is_some_and(|known| known != key) {
                let text = format!("the {owner}'s key in MP_CAPABLE is not the one it sent");
                self.log.wrong(at, Kind::WrongKey, text);
            } else {
                self.learn_key(owner, key);
            }
        }
        let times = &mut self.subflows[at.subflow].times;
        times.established.get_or_insert(at.time);
    }
}
