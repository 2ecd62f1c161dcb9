//! Everything random: drawn from the one seed, or a keyed hash with keys drawn from it.

use crate::demux::Tuple;
use anabranch_tcp::Instant;
use anabranch_tcp::isn::initial_seq;
use anabranch_wire::Seq;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use siphasher::sip::SipHasher13;
use std::hash::{BuildHasher, Hash};

/// The seeded source of keys and nonces.
pub(crate) struct Random(ChaCha20Rng);

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Random(ChaCha20Rng::from_seed(seed))
    }

    /// What follows, as another stack of the host draws it: each has a stream of its own.
    pub(crate) fn stream(mut self, shard: usize) -> Self {
        self.0.set_stream(shard as u64);
        self
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A new keyed hash.
    pub(crate) fn hash(&mut self) -> KeyedHash {
        KeyedHash(SipHasher13::new_with_keys(self.u64(), self.u64()))
    }
}

/// SipHash with a secret key: what it gives cannot be foreseen or steered from the network.
#[derive(Clone)]
pub(crate) struct KeyedHash(SipHasher13);

impl BuildHasher for KeyedHash {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        self.0
    }
}

impl KeyedHash {
    pub(crate) fn of(&self, value: impl Hash) -> u64 {
        self.hash_one(value)
    }
}

/// A hash map whose order and collisions depend on the seed alone.
#[expect(clippy::disallowed_types, reason = "with a seeded hasher")]
pub(crate) type SeededMap<K, V> = std::collections::HashMap<K, V, KeyedHash>;

/// What connections begin with.
pub(crate) struct Secrets {
    isn: KeyedHash,
    timestamp: KeyedHash,
    label: KeyedHash,
}

impl Secrets {
    pub(crate) fn new(random: &mut Random) -> Self {
        Secrets {
            isn: random.hash(),
            timestamp: random.hash(),
            label: random.hash(),
        }
    }

    /// Initial sequence number (RFC 6528 §3).
    pub(crate) fn iss(&self, now: Instant, tuple: &Tuple) -> Seq {
        initial_seq(self.isn.of((tuple.local, tuple.remote)) as u32, now)
    }

    /// Offset of the timestamp clock: the same for each connection between two sockets, so that
    /// the clock goes on from one to the next (RFC 7323 §5.4, RFC 6191).
    pub(crate) fn timestamp_offset(&self, tuple: &Tuple) -> u32 {
        self.timestamp.of(tuple) as u32
    }

    /// IPv6 flow label (RFC 6437 §3): 20 bits, not 0.
    pub(crate) fn flow_label(&self, tuple: &Tuple) -> u32 {
        (self.label.of(tuple) as u32 & 0xf_ffff).max(1)
    }
}
