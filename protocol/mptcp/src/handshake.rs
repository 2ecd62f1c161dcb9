//! Opening a connection: MP_CAPABLE (RFC 8684 §3.1, RFC 6824 §3.1), and the keys it exchanges.

use crate::config::Config;
use crate::event::FallbackReason;
use crate::keys::{self, Derived, JoinSecret, LocalKey, Version};
use crate::secret::Keys;
use crate::space::Space;
use crate::subflow::Nonces;
use anabranch_tcp::Instant;
use anabranch_tcp::packed;
use anabranch_wire::mptcp::{AddAddr, Capable, CapableData, CapableFlags};
use std::net::IpAddr;

/// Who opened the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Initiator,
    Acceptor,
}

packed!(
    enum Role {
        Initiator,
        Acceptor,
    }
);

/// What follows from a key.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Side {
    pub(crate) derived: Derived,
    /// Bytes before the data sequence: what the SYN carried.
    pub(crate) syn_data: u32,
}

packed!(Side { derived, syn_data });

impl Side {
    pub(crate) fn new(version: Version, key: u64) -> Side {
        Side {
            derived: keys::derive(version, key),
            syn_data: 0,
        }
    }

    pub(crate) fn space(&self) -> Space {
        Space::new(self.derived.idsn.wrapping_sub(self.syn_data.into()))
    }
}

/// What the handshake of the initial subflow agreed on so far.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    pub(crate) role: Role,
    pub(crate) version: Version,
    pub(crate) keys: Keys,
    pub(crate) local: Side,
    /// Once the peer's key is known.
    pub(crate) remote: Option<Side>,
    /// Bytes taken from the peer's SYN.
    pub(crate) syn_data: u32,
    /// Checksums are in use.
    pub(crate) checksum: bool,
    /// We set flag C.
    pub(crate) deny_join: bool,
    /// The peer set flag C.
    pub(crate) peer_denies_join: bool,
    /// A DSS, or data with MP_CAPABLE, came: options pass, and the peer has both keys.
    pub(crate) confirmed: bool,
    /// When TCP's handshake was complete; of who opened it, when our third ACK left.
    pub(crate) since: Instant,
    /// That has left.
    pub(crate) keys_left: bool,
    /// The last ACK without data carried our keys.
    pub(crate) proof_sent: bool,
    /// SYNs sent with MP_CAPABLE.
    pub(crate) syns: u8,
    /// The last SYN was sent without it.
    pub(crate) bare_syn: bool,
}

packed!(Handshake { role, version, local, remote, syn_data, checksum, deny_join, peer_denies_join, confirmed, since, keys_left, proof_sent, syns, bare_syn } kept { keys });

impl Handshake {
    pub(crate) fn new(role: Role, version: Version, key: LocalKey, config: &Config) -> Handshake {
        Handshake {
            role,
            version,
            keys: Keys::new(key.key),
            local: Side {
                derived: key.derived,
                syn_data: 0,
            },
            remote: None,
            syn_data: 0,
            checksum: config.checksum,
            deny_join: config.deny_join && version.has_deny_join(),
            peer_denies_join: false,
            confirmed: false,
            since: Instant::default(),
            keys_left: false,
            proof_sent: false,
            syns: 0,
            bare_syn: false,
        }
    }

    /// One that becomes what was written of another, whose keys these are.
    pub(crate) fn fresh(keys: Keys, config: &Config) -> Handshake {
        Handshake {
            role: Role::Acceptor,
            version: Version::V1,
            keys,
            local: Side::default(),
            remote: None,
            syn_data: 0,
            checksum: config.checksum,
            deny_join: false,
            peer_denies_join: false,
            confirmed: false,
            since: Instant::default(),
            keys_left: false,
            proof_sent: false,
            syns: 0,
            bare_syn: false,
        }
    }

    /// The peer's flags on SYN or SYN+ACK.
    pub(crate) fn agree(&mut self, flags: &CapableFlags) {
        self.checksum |= flags.checksum;
        self.peer_denies_join = flags.deny_join && self.version.has_deny_join();
    }

    /// Acceptor: the SYN.
    pub(crate) fn on_syn(&mut self, syn: &Capable) {
        self.agree(&syn.flags());
        if let Capable::Syn { key: Some(key), .. } = syn
            && self.version.key_on_syn()
        {
            self.learn(*key);
        }
    }

    /// Initiator: the SYN+ACK. Otherwise go on as plain TCP.
    pub(crate) fn on_syn_ack(&mut self, capable: Option<&Capable>) -> Result<(), FallbackReason> {
        let Some(Capable::SynAck {
            version,
            flags,
            key,
        }) = capable
        else {
            return Err(match self.bare_syn {
                true => FallbackReason::Unanswered,
                false => FallbackReason::SynAck,
            });
        };
        let offered = self.version.number();
        if *version < offered {
            return Err(FallbackReason::OlderVersion);
        }
        // Our own key is our SYN's option come back.
        let followed = *version == offered && !flags.extensibility && !self.keys.is_local(*key);
        if !followed || !self.version.algorithm_chosen(flags) {
            return Err(FallbackReason::SynAck);
        }
        self.agree(flags);
        self.learn(*key);
        Ok(())
    }

    /// Acceptor: whether the third ACK speaks of what SYN and SYN+ACK agreed on.
    pub(crate) fn agreed(&self, version: u8, flags: &CapableFlags) -> bool {
        let same = version == self.version.number() && !flags.extensibility;
        same && self.version.algorithm_chosen(flags)
    }

    /// Acceptor: MP_CAPABLE on the third ACK or on data. Whether it has the right keys: ours, and
    /// the peer's if that was on its SYN.
    pub(crate) fn on_ack(&mut self, sender_key: u64, receiver_key: u64) -> bool {
        if !self.keys.is_local(receiver_key) {
            return false;
        }
        if self.remote.is_some() {
            return self.keys.is_remote(sender_key);
        }
        self.learn(sender_key);
        true
    }

    fn learn(&mut self, key: u64) {
        self.keys.learn(key);
        self.remote = Some(Side {
            syn_data: self.syn_data,
            ..Side::new(self.version, key)
        });
    }

    fn flags(&self) -> CapableFlags {
        CapableFlags {
            checksum: self.checksum,
            deny_join: self.deny_join,
            hmac: true,
            ..CapableFlags::default()
        }
    }

    /// For our SYN.
    pub(crate) fn syn(&self) -> Capable {
        Capable::Syn {
            version: self.version.number(),
            flags: self.flags(),
            key: self.version.key_on_syn().then_some(self.keys.local()),
        }
    }

    /// For our SYN+ACK.
    pub(crate) fn syn_ack(&self) -> Capable {
        Capable::SynAck {
            version: self.version.number(),
            flags: self.flags(),
            key: self.keys.local(),
        }
    }

    /// For our third ACK, or with `data` for our first data.
    pub(crate) fn ack(&self, data: Option<CapableData>) -> Option<Capable> {
        self.remote?;
        Some(Capable::Ack {
            version: self.version.number(),
            flags: CapableFlags {
                deny_join: false,
                ..self.flags()
            },
            sender_key: self.keys.local(),
            receiver_key: self.keys.remote(),
            data,
        })
    }

    /// Whether our segments still have to carry MP_CAPABLE.
    pub(crate) fn must_prove(&self) -> bool {
        self.role == Role::Initiator && !self.confirmed
    }

    /// Whether our first data has to carry it: its mapping then, too.
    pub(crate) fn must_prove_with_data(&self) -> bool {
        self.must_prove() && self.version.keys_on_data()
    }

    /// Whether a DSS proves to an acceptor that options pass and the peer has both keys.
    pub(crate) fn dss_is_proof(&self) -> bool {
        self.remote.is_some() && !self.version.keys_on_data()
    }

    /// The HMAC of an ADD_ADDR of ours, where the version has one.
    pub(crate) fn our_address_hmac(&self, id: u8, addr: IpAddr, port: Option<u16>) -> Option<u64> {
        let (ours, theirs) = (self.keys.local(), self.keys.remote());
        let proves = self.version.proves_addresses();
        proves.then(|| keys::add_addr_hmac(ours, theirs, id, addr, port))
    }

    /// The HMAC that an ADD_ADDR of the peer should have, where the version has one.
    pub(crate) fn their_address_hmac(&self, add: &AddAddr) -> Option<u64> {
        let (ours, theirs) = (self.keys.local(), self.keys.remote());
        let proves = self.version.proves_addresses();
        proves.then(|| keys::add_addr_hmac(theirs, ours, add.address_id, add.addr, add.port))
    }

    /// What our HMAC of a join is made from.
    pub(crate) fn our_secret(&self, nonces: Nonces) -> Option<JoinSecret> {
        self.remote?;
        Some(JoinSecret {
            version: self.version,
            sender_key: self.keys.local(),
            receiver_key: self.keys.remote(),
            sender_nonce: nonces.local,
            receiver_nonce: nonces.remote,
        })
    }

    /// What the peer's HMAC of a join is made from.
    pub(crate) fn their_secret(&self, nonces: Nonces) -> Option<JoinSecret> {
        self.remote?;
        Some(JoinSecret {
            version: self.version,
            sender_key: self.keys.remote(),
            receiver_key: self.keys.local(),
            sender_nonce: nonces.remote,
            receiver_nonce: nonces.local,
        })
    }
}
