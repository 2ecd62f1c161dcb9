//! MP_CAPABLE under SYN cookies: RFC 8684 §3.1 has the third ACK, or the first data, repeat our
//! key, so nothing need be kept of the SYN. The key is a keyed hash of what the cookie stands for
//! and of what the SYN's MP_CAPABLE asked: the one that comes back tells both.

use crate::counters::Counter;
use crate::demux::Tuple;
use crate::flow::Flow;
use crate::held::hold;
use crate::id::ListenerId;
use crate::multi::Multi;
use crate::receive::Arrival;
use crate::shard::Shard;
use crate::stack::Stack;
use crate::syn_cookies::Baker;
use crate::token::of_shard;
use anabranch_mptcp::Connection;
use anabranch_mptcp::keys::{self, LocalKey, Version, derive};
use anabranch_tcp::{Emit, Instant, Segment};
use anabranch_wire::Seq;
use anabranch_wire::mptcp::{Capable, CapableFlags, MptcpOption, MptcpOptions};
use std::hash::{Hash, Hasher};

/// What a SYN's MP_CAPABLE asked for, as far as our answer and the connection depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Offer {
    /// Of our answer.
    version: Version,
    checksum: bool,
    deny_join: bool,
}

impl Offer {
    fn of(syn: &Capable, version: Version) -> Self {
        let flags = syn.flags();
        Offer {
            version,
            checksum: flags.checksum,
            deny_join: flags.deny_join,
        }
    }

    /// All that a SYN of this version can have asked for.
    fn all(version: Version) -> [Offer; 4] {
        [(false, false), (true, false), (false, true), (true, true)].map(|(checksum, deny_join)| {
            Offer {
                version,
                checksum,
                deny_join,
            }
        })
    }

    /// The MP_CAPABLE that the SYN must have had, or one of an older version that is answered
    /// alike; `key` is the peer's.
    fn capable(self, key: u64) -> Capable {
        Capable::Syn {
            version: self.version.number(),
            flags: CapableFlags {
                checksum: self.checksum,
                deny_join: self.deny_join,
                hmac: true,
                ..CapableFlags::default()
            },
            key: self.version.key_on_syn().then_some(key),
        }
    }
}

impl Baker {
    /// The key that goes with a cookie, and its token, which is this stack's: of a row of keys the
    /// first that fits. `cookie` is bound to both ends and to the time.
    fn key(&self, tuple: &Tuple, cookie: Seq, offer: Offer, shard: Shard) -> Option<LocalKey> {
        let mut hasher = self.keys;
        (tuple, cookie.0, offer).hash(&mut hasher);
        let row = || {
            let key = hasher.finish();
            hasher.write_u8(0);
            key
        };
        of_shard(row, offer.version, shard)
    }

    /// What the SYN asked for whose answer had the key that comes back.
    fn offer(
        &self,
        tuple: &Tuple,
        cookie: Seq,
        (version, key): (Version, u64),
        shard: Shard,
    ) -> Option<Offer> {
        Offer::all(version).into_iter().find(|offer| {
            let ours = self.key(tuple, cookie, *offer, shard);
            ours.is_some_and(|ours| keys::same(&key, &ours.key))
        })
    }
}

impl Stack {
    /// The SYN+ACK for a SYN with MP_CAPABLE, of which nothing is kept; `None` if its key cannot
    /// be had: plain TCP then.
    pub(crate) fn answer_capable(
        &mut self,
        now: Instant,
        id: ListenerId,
        arrival: &Arrival,
        syn: &Segment,
        capable: &Capable,
        cookie: Seq,
    ) -> Option<(Emit, MptcpOptions)> {
        self.counters.inc(Counter::MPTcpExtMPCapableSYNRX);
        self.counters.inc(Counter::MptcpCalls);
        let tuple = arrival.tuple;
        let config = self.settings_of(id).mptcp;
        let version = config.versions.answer(capable)?;
        let (offer, shard) = (Offer::of(capable, version), self.config.shard);
        let key = self.baker.key(&tuple, cookie, offer, shard)?;
        self.free_token(key.derived.token)?;
        let start = self.start_at(now, &tuple, cookie);
        let (answer, ours) = Connection::answer(&config, key, syn, capable, &start)?;
        let options = MptcpOptions::from_iter([MptcpOption::Capable(ours)]);
        Some((answer.emit(now), options))
    }

    /// The connection whose cookie and key come back; `None` where there is no key of ours, or its
    /// token was given away meanwhile: plain TCP, to which the peer falls back when it sees no
    /// MPTCP options (RFC 8684 §3.7).
    pub(crate) fn resume_capable(
        &mut self,
        now: Instant,
        id: ListenerId,
        syn: &Segment,
        cookie: Seq,
        arrival: &Arrival,
    ) -> Option<Flow> {
        let wanted = self.listeners.get(id)?.config.mptcp && !cfg!(anabranch_tcp_only);
        let (version, peer, key) = arrival
            .mptcp
            .iter()
            .filter(|_| wanted)
            .find_map(returned_keys)?;
        self.counters.inc(Counter::MptcpCalls);
        let tuple = arrival.tuple;
        let (returned, shard) = ((version, key), self.config.shard);
        let offer = self.baker.offer(&tuple, cookie, returned, shard)?;
        let token = self.free_token(derive(version, key).token)?;
        let start = self.start_at(now, &tuple, cookie);
        let config = self.settings_of(id).mptcp;
        let (path, capable) = (tuple.into(), offer.capable(peer));
        let connection = Connection::resume(now, &config, key, path, syn, &capable, start);
        Some(Flow::Mptcp(hold(Multi::new(connection, token, tuple))))
    }

    /// A token, unless a connection has it.
    fn free_token(&mut self, token: u32) -> Option<u32> {
        let taken = self.tokens.get(token).is_some();
        if taken {
            self.counters.inc(Counter::MPTcpExtMPFallbackTokenInit);
        }
        (!taken).then_some(token)
    }
}

/// The version, the peer's key and ours, of the MP_CAPABLE of a third ACK or of first data.
fn returned_keys(option: &MptcpOption) -> Option<(Version, u64, u64)> {
    match option {
        MptcpOption::Capable(Capable::Ack {
            version,
            sender_key,
            receiver_key,
            ..
        }) => Some((Version::of(*version)?, *sender_key, *receiver_key)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ListenConfig};
    use anabranch_wire::tcp::{Flags, Options};
    use bytes::Bytes;

    fn arrival(flags: Flags, option: MptcpOption) -> Arrival {
        let tuple = Tuple::new(([10, 0, 0, 2], 80).into(), ([10, 0, 0, 1], 4000).into());
        let segment = Segment {
            seq: Seq(1000),
            ack: Seq(0),
            wnd: 1000,
            flags,
            len: 0,
            gso_size: 0,
            options: Options::empty(anabranch_wire::tcp::Class::of(flags)),
            ecn: 0,
            signal_only: false,
        };
        Arrival {
            tuple,
            segment,
            mptcp: MptcpOptions::from_iter([option]),
            payload: Bytes::new(),
            dscp: 0,
        }
    }

    /// Tokens are given away while a cookie is out; two connections must not have the same.
    #[test]
    fn a_token_that_was_taken_meanwhile_makes_it_plain_tcp() {
        let now = Instant(1_000_000_000);
        let mut stack = Stack::new(Config::default(), [5; 32], now);
        let id = stack.listen(ListenConfig::port(80)).unwrap();
        let (offer, cookie) = (Offer::all(Version::V1)[1], Seq(77));
        let syn = arrival(Flags::SYN, MptcpOption::Capable(offer.capable(1)));
        let answer = |stack: &mut Stack| {
            let capable = offer.capable(1);
            stack.answer_capable(now, id, &syn, &syn.segment, &capable, cookie)
        };
        let (_, options) = answer(&mut stack).unwrap();
        let [MptcpOption::Capable(Capable::SynAck { key, .. })] = options[..] else {
            panic!("{options:?}")
        };
        let ack = arrival(
            Flags::ACK,
            MptcpOption::Capable(Capable::Ack {
                version: 1,
                flags: CapableFlags::default(),
                sender_key: 1,
                receiver_key: key,
                data: None,
            }),
        );
        let resume = |stack: &mut Stack| stack.resume_capable(now, id, &syn.segment, cookie, &ack);
        assert!(resume(&mut stack).is_some());
        stack.tokens.insert(derive(Version::V1, key).token, 99);
        assert!(resume(&mut stack).is_none());
        assert!(answer(&mut stack).is_none());
        assert_eq!(
            stack.counters().get(Counter::MPTcpExtMPFallbackTokenInit),
            2
        );
    }
}
