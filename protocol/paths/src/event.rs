//! What a policy is told, and what it says.

use crate::Source;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Both ends of a subflow: what tells it from every other one that lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ends {
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
}

/// Something happened to a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Its first subflow is established, and further ones may follow.
    Established {
        /// The peer wants no joins to the address it was reached by (flag C, RFC 8684 §3.1).
        deny_join: bool,
    },
    /// It ended, or goes on as plain TCP: there is nothing more to decide.
    Closed,
    /// The peer announced an address (ADD_ADDR).
    Announced {
        /// Its ID, 1 to 255.
        id: u8,
        /// The address.
        addr: IpAddr,
        /// The port, if it gave one; otherwise that of the first subflow is meant.
        port: Option<u16>,
    },
    /// The peer withdrew an address (REMOVE_ADDR); 0 is that of the first subflow.
    Removed {
        /// Its ID.
        id: u8,
    },
    /// A [`Command::Create`] is under way, or a subflow that an operator opens. Not needed where the engine learns of the subflow's port
    /// only with [`Event::SubflowUp`].
    Begun {
        /// Its ends, the port known.
        ends: Ends,
        /// Our address ID, if it is not that of the command.
        local_id: Option<u8>,
    },
    /// A [`Command::Create`] could not be begun.
    Refused {
        /// Its ends as in the command.
        ends: Ends,
        /// Whether to try again.
        loss: Loss,
    },
    /// A further subflow is established, whoever opened it.
    SubflowUp {
        /// Its ends.
        ends: Ends,
        /// Our address ID.
        local_id: u8,
        /// We opened it; otherwise the peer did.
        ours: bool,
        /// It is a backup already.
        backup: bool,
    },
    /// A subflow ended, or could not be established.
    SubflowDown {
        /// Its ends; the local port may be 0 if it never was established.
        ends: Ends,
        /// Whether to try again.
        loss: Loss,
    },
    /// The peer changed the priority of a subflow (MP_PRIO).
    PeerPriority {
        /// Its ends.
        ends: Ends,
        /// It wants it as a backup.
        backup: bool,
    },
    /// How a subflow does.
    Quality {
        /// Its ends.
        ends: Ends,
        /// Figures.
        quality: Quality,
    },
    /// Payload bytes that the connection has carried so far, both ways together.
    Carried(u64),
    /// An address of this host may be used, or used otherwise than before.
    LocalUp(Source),
    /// An address is no longer this host's.
    LocalDown(IpAddr),
    /// An operator opened or closed a subflow past the policy: a pair of addresses to leave alone,
    /// or to leave alone no more.
    Hands {
        /// The addresses; the local port does not matter.
        ends: Ends,
        /// Leave them alone.
        off: bool,
    },
}

/// How a subflow does, as far as the engine knows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Quality {
    /// Smoothed round-trip time.
    pub srtt: Option<Duration>,
    /// Retransmission timeout, doubled by those that went by.
    pub rto: Option<Duration>,
    /// When something arrived on it last.
    pub heard: Option<crate::Time>,
    /// It makes no progress, and the engine does not use it while another works.
    pub stale: bool,
}

/// Why a subflow ended, as far as trying again is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Trouble that may pass: tried again, later each time.
    Passing,
    /// It would end the same way: only when no subflow is left.
    Lasting,
    /// The peer reset it, and says that this would be so again: as [`Loss::Lasting`], unless the
    /// connection is young.
    Reset,
    /// The peer forbids it: never, unless the connection is young.
    Forbidden,
}

impl Loss {
    /// What a reset of the peer comes to, by reason and flag T of its MP_TCPRST (RFC 8684 §3.6).
    ///
    /// Reason 0 is what comes where nobody decided anything: a middlebox forgot the flow, an
    /// operator killed a socket. It says nothing against another attempt.
    pub fn of_reset(reason: u8, transient: bool) -> Loss {
        const UNSPECIFIED: u8 = 0;
        const PROHIBITED: u8 = 3;
        match reason {
            _ if transient => Loss::Passing,
            UNSPECIFIED => Loss::Passing,
            PROHIBITED => Loss::Forbidden,
            _ => Loss::Reset,
        }
    }
}

/// What is to be done with a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Tell the peer of an address (ADD_ADDR), and listen there if it has a port of its own.
    Announce {
        /// Its ID, 1 to 255.
        id: u8,
        /// The address.
        addr: IpAddr,
        /// The port; `None`: that of the first subflow.
        port: Option<u16>,
    },
    /// Tell the peer that an address is gone (REMOVE_ADDR). Subflows from there end by
    /// [`Command::Destroy`].
    Remove {
        /// Its ID; 0 is that of the first subflow.
        id: u8,
    },
    /// Open a subflow (MP_JOIN).
    Create {
        /// From here, port 0 being any free one.
        from: Source,
        /// The peer's ID of the address; 0 is that of the first subflow.
        remote_id: u8,
        /// To there.
        to: SocketAddr,
        /// As a backup.
        backup: bool,
    },
    /// End a subflow.
    Destroy {
        /// Its ends.
        ends: Ends,
        /// By a reset, since its address is gone; otherwise in order, after what it has to send.
        at_once: bool,
    },
    /// Make a subflow a backup, or a normal one again (MP_PRIO).
    SetPriority {
        /// Its ends.
        ends: Ends,
        /// As a backup.
        backup: bool,
    },
    /// Ask a subflow for a sign of life, which comes back as [`Event::Quality`]. An engine that
    /// cannot do so ignores it.
    Probe {
        /// Its ends.
        ends: Ends,
    },
    /// Subflows at once that the engine itself should let the connection have.
    SetLimits {
        /// All together, the first one included.
        subflows: usize,
        /// Addresses of the peer to take notice of.
        add_addr_accepted: usize,
    },
}
