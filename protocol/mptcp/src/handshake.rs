//! Opening a connection: MP_CAPABLE (RFC 8684 §3.1), and the keys it exchanges.

use crate::keys::{self, Derived, JoinSecret, Version};
use crate::space::Space;
use crate::subflow::Nonces;
use anabranch_tcp::Instant;
use anabranch_wire::mptcp::{Capable, CapableData, CapableFlags};

/// Who opened the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Initiator,
    Acceptor,
}

/// A key and what follows from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    pub(crate) key: u64,
    pub(crate) derived: Derived,
}

impl Side {
    pub(crate) fn new(version: Version, key: u64) -> Side {
        Side {
            key,
            derived: keys::derive(version, key),
        }
    }

    pub(crate) fn space(&self) -> Space {
        Space::new(self.derived.idsn)
    }
}

/// What the handshake of the initial subflow agreed on so far.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    pub(crate) role: Role,
    pub(crate) version: Version,
    pub(crate) local: Side,
    /// Once the peer's key is known.
    pub(crate) remote: Option<Side>,
    /// Checksums are in use.
    pub(crate) checksum: bool,
    /// We set flag C.
    pub(crate) deny_join: bool,
    /// The peer set flag C.
    pub(crate) peer_denies_join: bool,
    /// A DSS, or data with MP_CAPABLE, came: options pass, and the peer has both keys.
    pub(crate) confirmed: bool,
    /// When TCP's handshake was complete.
    pub(crate) since: Instant,
    /// The last ACK without data carried our keys.
    pub(crate) proof_sent: bool,
    /// Segments without any MPTCP option since the last that had one.
    pub(crate) silence: u8,
    /// SYNs sent with MP_CAPABLE.
    pub(crate) syns: u8,
}

impl Handshake {
    pub(crate) fn new(role: Role, key: u64, checksum: bool, deny_join: bool) -> Handshake {
        let version = Version::V1;
        Handshake {
            role,
            version,
            local: Side::new(version, key),
            remote: None,
            checksum,
            deny_join,
            peer_denies_join: false,
            confirmed: false,
            silence: 0,
            since: Instant::default(),
            proof_sent: false,
            syns: 0,
        }
    }

    /// Whether a SYN's MP_CAPABLE is one we can follow. Flag B means "not unless understood", and
    /// H is the only algorithm there is (RFC 8684 §3.1).
    pub(crate) fn acceptable(syn: &Capable) -> bool {
        let Capable::Syn { version, flags, .. } = syn else {
            return false;
        };
        *version >= 1 && !flags.extensibility && flags.hmac
    }

    /// The peer's flags on SYN or SYN+ACK.
    fn agree(&mut self, flags: &CapableFlags) {
        self.checksum |= flags.checksum;
        self.peer_denies_join = flags.deny_join;
    }

    /// Acceptor: the SYN.
    pub(crate) fn on_syn(&mut self, syn: &Capable) {
        self.agree(&syn.flags());
    }

    /// Initiator: the SYN+ACK; `false`: go on as plain TCP.
    pub(crate) fn on_syn_ack(&mut self, capable: Option<&Capable>) -> bool {
        match capable {
            Some(Capable::SynAck {
                version,
                flags,
                key,
            }) if *version == self.version.number() && !flags.extensibility && flags.hmac => {
                self.agree(flags);
                self.remote = Some(Side::new(self.version, *key));
                true
            }
            _ => false,
        }
    }

    /// Acceptor: MP_CAPABLE on the third ACK or on data. Whether it has the right keys.
    pub(crate) fn on_ack(&mut self, sender_key: u64, receiver_key: u64) -> bool {
        if !keys::same_u64(receiver_key, self.local.key) {
            return false;
        }
        match self.remote {
            Some(known) => keys::same_u64(known.key, sender_key),
            None => {
                self.remote = Some(Side::new(self.version, sender_key));
                true
            }
        }
    }

    fn flags(&self) -> CapableFlags {
        CapableFlags {
            checksum: self.checksum,
            deny_join: self.deny_join,
            hmac: true,
            ..CapableFlags::default()
        }
    }

    /// For our SYN. Version 1 carries no key.
    pub(crate) fn syn(&self) -> Capable {
        Capable::Syn {
            version: self.version.number(),
            flags: self.flags(),
            key: None,
        }
    }

    /// For our SYN+ACK.
    pub(crate) fn syn_ack(&self) -> Capable {
        Capable::SynAck {
            version: self.version.number(),
            flags: self.flags(),
            key: self.local.key,
        }
    }

    /// For our third ACK, or with `data` for our first data.
    pub(crate) fn ack(&self, data: Option<CapableData>) -> Option<Capable> {
        let remote = self.remote?;
        Some(Capable::Ack {
            version: self.version.number(),
            flags: CapableFlags {
                deny_join: false,
                ..self.flags()
            },
            sender_key: self.local.key,
            receiver_key: remote.key,
            data,
        })
    }

    /// Whether our segments still have to carry MP_CAPABLE.
    pub(crate) fn must_prove(&self) -> bool {
        self.role == Role::Initiator && !self.confirmed
    }

    /// What our HMAC of a join is made from.
    pub(crate) fn our_secret(&self, nonces: Nonces) -> Option<JoinSecret> {
        let remote = self.remote?;
        Some(JoinSecret {
            version: self.version,
            sender_key: self.local.key,
            receiver_key: remote.key,
            sender_nonce: nonces.local,
            receiver_nonce: nonces.remote,
        })
    }

    /// What the peer's HMAC of a join is made from.
    pub(crate) fn their_secret(&self, nonces: Nonces) -> Option<JoinSecret> {
        let remote = self.remote?;
        Some(JoinSecret {
            version: self.version,
            sender_key: remote.key,
            receiver_key: self.local.key,
            sender_nonce: nonces.remote,
            receiver_nonce: nonces.local,
        })
    }
}
