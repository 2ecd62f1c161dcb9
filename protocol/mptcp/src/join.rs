//! Further subflows: MP_JOIN (RFC 8684 §3.2).

use crate::config::{Path, Start, SubflowId};
use crate::connection::Connection;
use crate::connection::input::{Incoming, Verdict, tcp_rst};
use crate::event::{Event, Refusal, SignalError};
use crate::keys;
use crate::steer::GiveUp;
use crate::subflow::{self, AddressIds, Backup, Nonces, Phase, Subflow};
use anabranch_tcp::{Instant, Segment};
use anabranch_wire::mptcp::{Join, MptcpOption, ResetReason};
use std::time::Duration;

/// The SYN of a join waits for its answer no less, whatever is known of other ways.
const JOIN_RTO: Duration = Duration::from_millis(300);
/// And so many round trips of the longest of them.
const KNOWN_ROUND_TRIPS: u32 = 3;

impl Connection {
    /// The peer joins: `syn` carries `join`, which has our token. `nonce` is random. Refused
    /// before both keys are known, after a fallback or the end, and over the limit.
    pub fn join_passive(
        &mut self,
        now: Instant,
        path: Path,
        syn: &Segment,
        join: &Join,
        start: Start,
        nonce: u32,
    ) -> Result<SubflowId, Refusal> {
        let unexplained = !self.handshake.version.explains_resets();
        let refusal = |reason, transient| Refusal {
            reason,
            transient,
            unexplained,
        };
        let Join::Syn {
            backup,
            address_id,
            nonce: remote,
            ..
        } = *join
        else {
            return Err(refusal(ResetReason::MptcpError, false));
        };
        if !self.is_multipath() {
            return Err(refusal(ResetReason::MptcpError, false));
        }
        if self.handshake.deny_join && path.local == self.signals.initial().local {
            return Err(refusal(ResetReason::Prohibited, false));
        }
        if self.paths.alive() >= usize::from(self.paths.max) {
            return Err(refusal(ResetReason::Prohibited, true));
        }
        if self.paths.half_open() >= usize::from(self.config.half_open_joins) {
            return Err(refusal(ResetReason::LackOfResources, true));
        }
        let apart = self.steering().give_up == GiveUp::Always;
        let local_id = self.signals.local_id(path.local, apart);
        let tcb = subflow::accept(now, &self.config.tcp, syn, &start);
        let nonces = Nonces {
            local: nonce,
            remote,
        };
        let deadline = now + self.config.join_timeout;
        let subflow = self.paths.add(path, tcb, Phase::JoinPassive { nonces });
        subflow.linger = Some(deadline);
        subflow.ids = AddressIds {
            local: local_id,
            remote: address_id,
        };
        subflow.backup = Backup {
            theirs: backup,
            ..Backup::default()
        };
        let id = subflow.id;
        self.update(now);
        Ok(id)
    }

    /// We join over another path. `nonce` is random; `remote_id` is the peer's ID of the address
    /// (0: that of the initial subflow). The SYN waits until the peer has our key.
    pub fn join_active(
        &mut self,
        now: Instant,
        path: Path,
        remote_id: u8,
        start: Start,
        nonce: u32,
        backup: bool,
    ) -> Result<SubflowId, SignalError> {
        self.multipath()?;
        if self.paths.alive() >= usize::from(self.paths.max) {
            return Err(SignalError::Limit);
        }
        if self.handshake.peer_denies_join && path.remote == self.signals.initial().remote {
            return Err(SignalError::Denied);
        }
        let local_id = self.signals.local_id(path.local, false);
        let tcb = subflow::connect(now, &self.config_of_join(), &start);
        let nonces = Nonces {
            local: nonce,
            remote: 0,
        };
        let subflow = self.paths.add(path, tcb, Phase::JoinActive { nonces });
        subflow.ids = AddressIds {
            local: local_id,
            remote: remote_id,
        };
        subflow.backup = Backup {
            ours: backup,
            ..Backup::default()
        };
        let id = subflow.id;
        self.update(now);
        Ok(id)
    }

    /// A SYN waits a second for its answer because nothing is known of the way yet (RFC 6298 §2). Of a
    /// join something is, by the subflows there are: a path that is back should not wait that long for a
    /// SYN that was lost just before.
    fn config_of_join(&self) -> anabranch_tcp::Config {
        let mut config = self.config.tcp.clone();
        let usual = config.retransmit.initial_rto;
        let known = self.paths.active().filter_map(|s| s.tcb.srtt()).max();
        let enough = |srtt: Duration| (KNOWN_ROUND_TRIPS * srtt).max(JOIN_RTO);
        config.retransmit.initial_rto = known.map_or(usual, |srtt| usual.min(enough(srtt)));
        config
    }

    /// When a join may leave: the peer refuses it while our key is still on its way, which a
    /// DATA_ACK ends, or a round-trip time since it left. `None`: at once.
    pub(crate) fn join_not_before(&self) -> Option<Instant> {
        let initial = self
            .paths
            .list
            .first()
            .filter(|_| self.handshake.must_prove());
        initial.map(|s| self.handshake.since + s.tcb.srtt().unwrap_or_default())
    }

    /// The acceptor's side of the third ACK: without the right HMAC there is no subflow.
    pub(crate) fn admit_join(
        &mut self,
        i: usize,
        nonces: Nonces,
        segment: &Segment,
        incoming: &Incoming<'_>,
    ) -> Verdict {
        // Others may have come to the end of their handshakes meanwhile.
        let full = self.paths.alive() >= usize::from(self.paths.max);
        let subflow = &mut self.paths.list[i];
        if segment.ack != subflow.tcb.iss() + 1 {
            // Not from whom saw our SYN+ACK: the Tcb answers.
            return Verdict::Pass;
        }
        let expected = self.handshake.their_secret(nonces).map(|s| s.full());
        match (incoming.join, expected) {
            (Some(Join::Ack { hmac }), Some(expected)) if keys::same(&hmac[..], &expected[..]) => {
                if full {
                    subflow.reset_for_now(ResetReason::Prohibited);
                    return Verdict::Drop;
                }
                subflow.linger = None;
                subflow.phase = Phase::Joined;
                Verdict::Pass
            }
            (join, _) => {
                self.counters.join_hmac_failures += u64::from(join.is_some());
                subflow.reset(ResetReason::MptcpError);
                Verdict::Drop
            }
        }
    }

    /// The initiator's side: the SYN+ACK completed TCP's handshake.
    pub(crate) fn on_join_syn_ack(
        &mut self,
        now: Instant,
        i: usize,
        nonces: Nonces,
        incoming: &Incoming<'_>,
    ) {
        let subflow = &mut self.paths.list[i];
        let Some(Join::SynAck {
            backup,
            address_id,
            hmac,
            nonce,
        }) = incoming.join
        else {
            // The path removed the option, or there is another host behind it.
            return subflow.reset(ResetReason::Middlebox);
        };
        let nonces = Nonces {
            remote: *nonce,
            ..nonces
        };
        let expected = self.handshake.their_secret(nonces).map(|s| s.truncated());
        if !expected.is_some_and(|e| keys::same(hmac, &e)) {
            self.counters.join_hmac_failures += 1;
            return subflow.reset(ResetReason::MptcpError);
        }
        subflow.ids.remote = *address_id;
        subflow.backup.theirs = *backup;
        let retry = now + subflow.third_ack_wait();
        subflow.phase = Phase::JoinConfirm {
            nonces,
            retry,
            tries: 0,
        };
        subflow.tcb.request_ack();
    }

    /// An acceptable segment after the handshake: the fourth packet for who joined, a repeated
    /// third ACK for who was joined.
    pub(crate) fn on_join_progress(&mut self, i: usize, incoming: &Incoming<'_>) {
        let subflow = &mut self.paths.list[i];
        match subflow.phase {
            Phase::JoinConfirm { .. } => {
                subflow.phase = Phase::Joined;
                self.on_joined(i);
            }
            Phase::Joined if matches!(incoming.join, Some(Join::Ack { .. })) => {
                subflow.tcb.request_ack();
            }
            _ => {}
        }
    }

    /// A subflow is ready for data.
    pub(crate) fn on_joined(&mut self, i: usize) {
        self.paths.joined = true;
        self.established();
        self.events.push(Event::SubflowUp(self.paths.list[i].id));
        self.rescue();
    }

    /// Somebody delivers again: what subflows hold that make no progress is sent there.
    pub(crate) fn rescue(&mut self) {
        let live = self.paths.live();
        if live.is_empty() {
            return;
        }
        for subflow in self.paths.list.iter().filter(|s| s.stale || s.abandoned) {
            for mapping in subflow.tx.iter() {
                self.tx.doubt(mapping.run(), None, &live);
            }
        }
        self.dirty = true;
    }

    /// MP_JOIN for our SYN or SYN+ACK.
    pub(crate) fn join_syn_options(&self, i: usize) -> Option<Join> {
        let subflow = &self.paths.list[i];
        let (backup, address_id) = (subflow.backup.ours, subflow.ids.local);
        match subflow.phase {
            Phase::JoinActive { nonces } => {
                let token = self.handshake.remote?.derived.token;
                Some(Join::Syn {
                    backup,
                    address_id,
                    token,
                    nonce: nonces.local,
                })
            }
            Phase::JoinPassive { nonces } => {
                let hmac = self.handshake.our_secret(nonces)?.truncated();
                Some(Join::SynAck {
                    backup,
                    address_id,
                    hmac,
                    nonce: nonces.local,
                })
            }
            _ => None,
        }
    }

    /// End one subflow; the connection goes on with the others. What it did not deliver is sent
    /// elsewhere.
    pub fn close_subflow(&mut self, now: Instant, id: SubflowId) -> Result<(), SignalError> {
        let timeout = self.config.close_timeout;
        let subflow = self.paths.get_mut(id).ok_or(SignalError::NoSuchSubflow)?;
        subflow.leave(now + timeout);
        self.update(now);
        Ok(())
    }

    /// End one subflow at once with an RST that tells why.
    pub fn reset_subflow(
        &mut self,
        now: Instant,
        id: SubflowId,
        reason: ResetReason,
    ) -> Result<(), SignalError> {
        let subflow = self.paths.get_mut(id).ok_or(SignalError::NoSuchSubflow)?;
        subflow.reset(reason);
        self.update(now);
        Ok(())
    }
}

impl Subflow {
    /// FIN after what it has; gone by `deadline` at the latest.
    pub(crate) fn leave(&mut self, deadline: Instant) {
        self.tcb.close();
        self.linger.get_or_insert(deadline);
    }
}

impl Refusal {
    /// The option for the RST that answers the SYN, if there is one in the connection's version.
    pub fn option(self) -> Option<MptcpOption> {
        let rst = MptcpOption::TcpRst(tcp_rst(self.reason, self.transient));
        (!self.unexplained).then_some(rst)
    }
}
