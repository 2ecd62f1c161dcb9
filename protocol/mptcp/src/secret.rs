//! Both keys of a connection, for as long as they are needed: by them a peer proves who it is, for
//! joins, announcements and MP_FASTCLOSE (RFC 8684 §5).

use crate::connection::{Connection, Mode};
use crate::keys;
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The keys. They are not printed, and wiped from memory with their last use. 0 is no key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Keys {
    local: u64,
    remote: u64,
}

impl Keys {
    pub(crate) fn new(local: u64) -> Keys {
        Keys { local, remote: 0 }
    }

    /// The peer's, once it is known.
    pub(crate) fn learn(&mut self, remote: u64) {
        self.remote = remote;
    }

    pub(crate) fn local(&self) -> u64 {
        self.local
    }

    pub(crate) fn remote(&self) -> u64 {
        self.remote
    }

    /// Whether a peer has our key. Nobody has one that was wiped.
    pub(crate) fn is_local(&self, key: u64) -> bool {
        keys::same(&key, &self.local) && self.local != 0
    }

    /// Whether a peer's key is the one it had before.
    pub(crate) fn is_remote(&self, key: u64) -> bool {
        keys::same(&key, &self.remote) && self.remote != 0
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.local, self.remote) {
            (0, 0) => "Keys(wiped)",
            (_, 0) => "Keys(ours)",
            _ => "Keys(both)",
        })
    }
}

impl Connection {
    /// Wipes the keys where nothing asks for them any more: after a fallback, and after the end
    /// when every MP_FASTCLOSE has left.
    pub(crate) fn forget_keys(&mut self) {
        let plain = matches!(self.mode, Mode::Plain { .. });
        let told =
            self.timers.fastclose.is_none() && !self.paths.list.iter().any(|s| s.pending.fastclose);
        if plain || self.closing.is_closed() && told {
            self.handshake.keys.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_printed_and_nobody_has_one_that_was_wiped() {
        let mut keys = Keys::new(0x1234_5678);
        keys.learn(0x9abc_def0);
        assert_eq!(format!("{keys:?}"), "Keys(both)");
        assert!(keys.is_local(0x1234_5678) && keys.is_remote(0x9abc_def0));
        assert!(!keys.is_local(0x9abc_def0) && !keys.is_remote(0x1234_5678));
        keys.zeroize();
        assert_eq!((keys.local(), keys.remote()), (0, 0));
        assert!(!keys.is_local(0) && !keys.is_remote(0));
    }
}
