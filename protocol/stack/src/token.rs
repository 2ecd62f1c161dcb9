//! Tokens: by them peers name the connection that a subflow joins (RFC 8684 §3.2).

use crate::random::{KeyedHash, Random, SeededMap};
use crate::shard::Shard;
use anabranch_mptcp::keys::{LocalKey, Version};

/// In place of a slot: the connection's handshake is not proven, see [`crate::syn_cache`].
pub(crate) const OPENING: u32 = u32::MAX;

/// Draws before giving up, for each stack of the host. Even with every second token in use, all
/// fail once in 2³² times.
const DRAWS: usize = 32;

/// The first of some keys whose token is this stack's.
pub(crate) fn of_shard(
    mut keys: impl FnMut() -> u64,
    version: Version,
    shard: Shard,
) -> Option<LocalKey> {
    (0..DRAWS * shard.count()).find_map(|_| {
        let key = LocalKey::new(version, keys());
        shard.has_token(key.derived.token).then_some(key)
    })
}

/// From tokens to slots of connections.
pub(crate) struct Tokens {
    map: SeededMap<u32, u32>,
}

impl Tokens {
    pub(crate) fn new(hash: KeyedHash) -> Self {
        Tokens {
            map: SeededMap::with_hasher(hash),
        }
    }

    /// A random key whose token is this stack's and no connection's (RFC 8684 §3.1).
    pub(crate) fn draw_key(
        &self,
        random: &mut Random,
        version: Version,
        shard: Shard,
    ) -> Option<LocalKey> {
        (0..DRAWS).find_map(|_| {
            of_shard(|| random.u64(), version, shard)
                .filter(|key| !self.map.contains_key(&key.derived.token))
        })
    }

    pub(crate) fn insert(&mut self, token: u32, flow: u32) {
        self.map.insert(token, flow);
    }

    pub(crate) fn get(&self, token: u32) -> Option<u32> {
        self.map.get(&token).copied()
    }

    /// Forgets a token if it is still that connection's.
    pub(crate) fn remove(&mut self, token: u32, flow: u32) {
        if self.get(token) == Some(flow) {
            self.map.remove(&token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_a_taken_token_is_not_drawn() {
        let draw = |tokens: &Tokens| {
            let key = tokens.draw_key(&mut Random::new([7; 32]), Version::V1, Shard::ONLY);
            key.map(|key| (key.key, key.derived.token))
        };
        let mut tokens = Tokens::new(Random::new([1; 32]).hash());
        let (first, token) = draw(&tokens).unwrap();
        tokens.insert(token, 0);
        let (second, other) = draw(&tokens).unwrap();
        assert_ne!((first, token), (second, other));
        tokens.remove(token, 1);
        assert_eq!(tokens.get(token), Some(0), "not another's");
        tokens.remove(token, 0);
        assert_eq!(draw(&tokens), Some((first, token)));
    }
}
