//! Announcing our addresses: ADD_ADDR until it is echoed (RFC 8684 §3.4.1, RFC 6824 §3.4.1).

use super::MAX_ADDRESSES;
use crate::config::Config;
use crate::connection::Connection;
use crate::event::{Event, SignalError};
use anabranch_tcp::rest::{Pack, Parcel};
use anabranch_tcp::{Instant, packed};
use anabranch_wire::mptcp::AddAddr;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// An address of ours that the peer was told of, or will be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announcement {
    pub(super) id: u8,
    pub(super) addr: IpAddr,
    pub(super) port: Option<u16>,
    /// Version 0 has none, nor an echo.
    hmac: Option<u64>,
    progress: Progress,
    /// Times sent.
    tries: u8,
}

/// How far an announcement is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    /// To be sent on the next ACK.
    Pending,
    /// To be sent again then.
    Waiting(Instant),
    /// Sent as often as it may be.
    GivenUp,
    Echoed,
}

impl Pack for Progress {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let (mut kind, mut due) = match *self {
            Progress::Pending => (0u8, Instant::default()),
            Progress::Waiting(due) => (1, due),
            Progress::GivenUp => (2, Instant::default()),
            Progress::Echoed => (3, Instant::default()),
        };
        kind.pack(parcel);
        if kind == 1 {
            due.pack(parcel);
        }
        *self = match kind {
            0 => Progress::Pending,
            1 => Progress::Waiting(due),
            2 => Progress::GivenUp,
            _ => Progress::Echoed,
        };
    }
}

impl Announcement {
    fn option(&self) -> AddAddr {
        AddAddr {
            address_id: self.id,
            addr: self.addr,
            port: self.port,
            echo: false,
            hmac: self.hmac,
        }
    }
}

/// When an address that was sent so many times is sent again; `None`: no more.
fn retry_after(config: &Config, sent: u8) -> Option<Duration> {
    let doubled = config.add_addr_retry * (1 << sent.saturating_sub(1).min(10));
    (sent < config.add_addr_tries).then(|| doubled.min(config.add_addr_retry_max))
}

/// All of them, oldest first.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    list: Vec<Announcement>,
}

impl Pack for Announcements {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        self.list.pack(parcel);
    }
}

packed!(Announcement {
    id,
    addr,
    port,
    hmac,
    progress,
    tries
});

impl Default for Announcement {
    fn default() -> Announcement {
        Announcement {
            id: 0,
            addr: Ipv4Addr::UNSPECIFIED.into(),
            port: None,
            hmac: None,
            progress: Progress::Pending,
            tries: 0,
        }
    }
}

impl Announcements {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Announcement> {
        self.list.iter()
    }

    /// The one to be sent now. Unless they go `together`, one waits for the echo of another; an
    /// echo that does not come in time holds up nothing.
    pub(super) fn next(&self, together: bool) -> Option<AddAddr> {
        let first = |a: &Announcement| a.tries == 1 && matches!(a.progress, Progress::Waiting(_));
        if !together && self.list.iter().any(first) {
            return None;
        }
        let pending = |a: &&Announcement| a.progress == Progress::Pending;
        self.list.iter().find(pending).map(Announcement::option)
    }

    /// What [`Announcements::next`] said leaves.
    pub(super) fn sent(&mut self, now: Instant, config: &Config) {
        let pending = |a: &&mut Announcement| a.progress == Progress::Pending;
        if let Some(a) = self.list.iter_mut().find(pending) {
            a.tries += 1;
            let wait = retry_after(config, a.tries).filter(|_| a.hmac.is_some());
            a.progress = match wait {
                Some(wait) => Progress::Waiting(now + wait),
                None => Progress::GivenUp,
            };
        }
    }

    /// Whether the peer's echo ends something.
    fn echoed(&mut self, echo: &AddAddr) -> bool {
        let same = |a: &&mut Announcement| {
            (a.id, a.addr, a.port) == (echo.address_id, echo.addr, echo.port)
        };
        match self.list.iter_mut().find(same) {
            Some(a) if a.tries > 0 && a.progress != Progress::Echoed => {
                a.progress = Progress::Echoed;
                true
            }
            _ => false,
        }
    }

    pub(super) fn forget(&mut self, id: u8) {
        self.list.retain(|a| a.id != id);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let waiting = self.list.iter().filter_map(|a| match a.progress {
            Progress::Waiting(at) => Some(at),
            _ => None,
        });
        waiting.min()
    }

    pub(super) fn on_deadline(&mut self, now: Instant) {
        for a in &mut self.list {
            if matches!(a.progress, Progress::Waiting(at) if at <= now) {
                a.progress = Progress::Pending;
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
    }
}

impl Connection {
    /// Tell the peer of one of our addresses, until it echoes it; in version 0, which has no echo,
    /// once. `id` is 1 to 255; `port` where it differs from that of the initial subflow. An address has one ID for the life of the
    /// connection, also where a subflow uses it already (see [`crate::SubflowInfo::local_id`]); an
    /// ID stands for another address only after [`Connection::withdraw`].
    ///
    /// # Errors
    /// [`SignalError::NotMultipath`], [`SignalError::AddressId`], [`SignalError::Limit`].
    pub fn announce(
        &mut self,
        now: Instant,
        id: u8,
        addr: IpAddr,
        port: Option<u16>,
    ) -> Result<(), SignalError> {
        self.multipath()?;
        if !self.signals.may_announce(id, addr, port) {
            return Err(SignalError::AddressId);
        }
        let known = self.signals.ours.iter().any(|a| a.id == id);
        if self.signals.ours.list.len() >= MAX_ADDRESSES && !known {
            return Err(SignalError::Limit);
        }
        self.push_announcement(id, addr, port);
        self.update(now);
        Ok(())
    }

    /// Tell the peer once more of an address that was withdrawn, the initial one (ID 0) perhaps, with
    /// the ID it had: that is free when nobody can hear of the withdrawal any more. Whether it will
    /// be told: its ID may stand for another meanwhile.
    pub(crate) fn announce_again(&mut self, id: u8, addr: IpAddr, port: Option<u16>) -> bool {
        let initial = id == 0 && addr == self.signals.initial().local.ip();
        let free = initial || self.signals.may_announce(id, addr, port);
        let known = self.signals.announced(id).is_some();
        let room = self.signals.ours.list.len() < MAX_ADDRESSES;
        let may = self.multipath().is_ok() && free && room && !known;
        if may {
            self.push_announcement(id, addr, port);
        }
        may
    }

    fn push_announcement(&mut self, id: u8, addr: IpAddr, port: Option<u16>) {
        let hmac = self.handshake.our_address_hmac(id, addr, port);
        self.signals.ours.forget(id);
        self.signals.reclaim(id, port);
        self.signals.ours.list.push(Announcement {
            id,
            addr,
            port,
            hmac,
            progress: Progress::Pending,
            tries: 0,
        });
    }

    /// An echo of what was never announced means nothing.
    pub(super) fn on_echo(&mut self, echo: &AddAddr) {
        if !self.handshake.version.proves_addresses() {
            self.counters.bad_options += 1;
            return;
        }
        self.counters.echo_in += 1;
        if self.signals.ours.echoed(echo) {
            self.events.push(Event::Echoed(echo.address_id));
        }
    }
}
