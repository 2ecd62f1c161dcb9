//! Addresses and priorities: ADD_ADDR, REMOVE_ADDR, MP_PRIO (RFC 8684 §3.4, §3.3.8).

use crate::config::{Path, SubflowId};
use crate::connection::input::Incoming;
use crate::connection::{Connection, Mode};
use crate::event::{Event, RemoteAddr, SignalError};
use crate::info::Counters;
use crate::keys;
use anabranch_tcp::Instant;
use anabranch_wire::mptcp::{AddAddr, MptcpOption, Prio};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// Addresses remembered of either side.
const MAX_ADDRESSES: usize = 32;
/// Echoes that may wait; the peer repeats what was not echoed.
const MAX_ECHOES: usize = 8;

/// An address of ours that the peer was told of, or will be.
#[derive(Clone, Copy, Debug)]
struct Announcement {
    option: AnnouncedAddr,
    /// To be sent on the next ACK.
    pending: bool,
    /// To be sent again then, unless echoed.
    again: Option<Instant>,
    /// Times sent.
    tries: u8,
}

/// ADD_ADDR without its variants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct AnnouncedAddr {
    id: u8,
    addr: IpAddr,
    port: Option<u16>,
    hmac: u64,
}

/// Signals of the connection, sent on pure ACKs.
#[derive(Debug)]
pub(crate) struct Signals {
    /// Addresses of the initial subflow.
    initial: Path,
    announced: Vec<Announcement>,
    /// IDs of our addresses that came up without being announced.
    implicit: Vec<(IpAddr, u8)>,
    echoes: VecDeque<(SubflowId, AddAddr)>,
    withdrawn: SmallVec<[u8; 8]>,
    /// What the peer announced.
    remote: Vec<RemoteAddr>,
    /// The subflow asked for an ACK to carry the next signal.
    carrier: Option<SubflowId>,
    now: Instant,
    retry: (std::time::Duration, u8),
}

impl Signals {
    pub(crate) fn new(initial: Path, retry: (std::time::Duration, u8)) -> Signals {
        Signals {
            initial,
            announced: Vec::new(),
            implicit: Vec::new(),
            echoes: VecDeque::new(),
            withdrawn: SmallVec::new(),
            remote: Vec::new(),
            carrier: None,
            now: Instant::default(),
            retry,
        }
    }

    pub(crate) fn initial(&self) -> Path {
        self.initial
    }

    /// The ID of one of our addresses: 0 for that of the initial subflow, as announced, or a new
    /// one.
    pub(crate) fn local_id(&mut self, local: SocketAddr) -> u8 {
        let same = |a: &&Announcement| {
            a.option.addr == local.ip() && a.option.port.is_none_or(|p| p == local.port())
        };
        if let Some(a) = self.announced.iter().find(same) {
            return a.option.id;
        }
        if local.ip() == self.initial.local.ip() {
            return 0;
        }
        if let Some((_, id)) = self.implicit.iter().find(|(a, _)| *a == local.ip()) {
            return *id;
        }
        let used = |id: &u8| {
            self.announced.iter().any(|a| a.option.id == *id)
                || self.implicit.iter().any(|(_, i)| i == id)
        };
        // From the top: path managers count from 1.
        let id = (1..=u8::MAX).rev().find(|id| !used(id)).unwrap_or(u8::MAX);
        if self.implicit.len() < MAX_ADDRESSES {
            self.implicit.push((local.ip(), id));
        }
        id
    }

    fn next(&self, carrier: SubflowId) -> Option<MptcpOption> {
        if self.carrier != Some(carrier) {
            return None;
        }
        if let Some((_, echo)) = self.echoes.front() {
            return Some(MptcpOption::AddAddr(echo.clone()));
        }
        if !self.withdrawn.is_empty() {
            return Some(MptcpOption::RemoveAddr(self.withdrawn.clone()));
        }
        let a = self.next_announcement()?.option;
        Some(MptcpOption::AddAddr(AddAddr {
            address_id: a.id,
            addr: a.addr,
            port: a.port,
            echo: false,
            hmac: Some(a.hmac),
        }))
    }

    /// One address at a time: Linux drops what is announced while it works on the one before. An
    /// echo that does not come in time holds up nothing.
    fn next_announcement(&self) -> Option<&Announcement> {
        let echo_due = self
            .announced
            .iter()
            .any(|a| a.tries == 1 && a.again.is_some());
        self.announced.iter().find(|a| a.pending && !echo_due)
    }

    /// Bytes of the option that the next ACK of a subflow will carry, padded.
    pub(crate) fn next_len(&self, carrier: SubflowId) -> u8 {
        self.next(carrier)
            .map_or(0, |option| option.padded_len() as u8)
    }

    /// The next signal for a subflow, if it fits into `free` bytes.
    pub(crate) fn take(
        &mut self,
        carrier: SubflowId,
        free: usize,
        counters: &mut Counters,
    ) -> Option<MptcpOption> {
        let option = self.next(carrier).filter(|o| o.padded_len() <= free)?;
        self.carrier = None;
        match &option {
            MptcpOption::RemoveAddr(_) => {
                counters.remove_addr_out += 1;
                self.withdrawn.clear();
            }
            MptcpOption::AddAddr(add) if add.echo => {
                counters.echo_out += 1;
                self.echoes.pop_front();
            }
            _ => {
                counters.add_addr_out += 1;
                self.sent();
            }
        }
        Some(option)
    }

    /// The first pending announcement leaves.
    fn sent(&mut self) {
        let (first, tries) = self.retry;
        let now = self.now;
        if let Some(a) = self.announced.iter_mut().find(|a| a.pending) {
            a.pending = false;
            a.tries += 1;
            a.again = (a.tries < tries).then(|| now + first * (1 << (a.tries - 1).min(10)));
        }
    }

    /// The subflow that should carry the next signal: where it has to go, or `None` for any;
    /// nothing if there is no signal, or a subflow was asked already.
    fn wanted(&self) -> Option<Option<SubflowId>> {
        if self.carrier.is_some() {
            return None;
        }
        if let Some((id, _)) = self.echoes.front() {
            return Some(Some(*id));
        }
        let any = !self.withdrawn.is_empty() || self.next_announcement().is_some();
        any.then_some(None)
    }

    /// A subflow ends: another will have to carry what it was asked to.
    pub(crate) fn forget_carrier(&mut self, id: SubflowId) {
        if self.carrier == Some(id) {
            self.carrier = None;
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.announced.iter().filter_map(|a| a.again).min()
    }

    pub(crate) fn on_deadline(&mut self, now: Instant) {
        for a in self
            .announced
            .iter_mut()
            .filter(|a| a.again.is_some_and(|t| t <= now))
        {
            a.again = None;
            a.pending = true;
        }
    }

    /// Nothing is signalled any more.
    pub(crate) fn clear(&mut self) {
        self.announced.clear();
        self.echoes.clear();
        self.withdrawn.clear();
        self.carrier = None;
    }
}

/// What a path manager calls.
impl Connection {
    /// Tell the peer of one of our addresses, until it echoes it. `id` is 1 to 255; `port` where
    /// it differs from that of the initial subflow.
    pub fn announce(
        &mut self,
        now: Instant,
        id: u8,
        addr: IpAddr,
        port: Option<u16>,
    ) -> Result<(), SignalError> {
        self.multipath()?;
        let Some(remote) = self.handshake.remote else {
            return Err(SignalError::NotMultipath);
        };
        let known = self.signals.announced.iter().find(|a| a.option.id == id);
        if id == 0 || known.is_some_and(|a| a.option.addr != addr || a.option.port != port) {
            return Err(SignalError::AddressId);
        }
        if self.signals.announced.len() >= MAX_ADDRESSES && known.is_none() {
            return Err(SignalError::Limit);
        }
        let hmac = keys::add_addr_hmac(self.handshake.local.key, remote.key, id, addr, port);
        let option = AnnouncedAddr {
            id,
            addr,
            port,
            hmac,
        };
        self.signals.announced.retain(|a| a.option.id != id);
        let announcement = Announcement {
            option,
            pending: true,
            again: None,
            tries: 0,
        };
        self.signals.announced.push(announcement);
        self.update(now);
        Ok(())
    }

    /// Tell the peer that addresses of ours are gone, and end the subflows that use them.
    pub fn withdraw(&mut self, now: Instant, ids: &[u8]) -> Result<(), SignalError> {
        self.multipath()?;
        self.signals
            .announced
            .retain(|a| !ids.contains(&a.option.id));
        self.signals.implicit.retain(|(_, id)| !ids.contains(id));
        for id in ids {
            if !self.signals.withdrawn.contains(id) && self.signals.withdrawn.len() < MAX_REMOVED {
                self.signals.withdrawn.push(*id);
            }
        }
        let deadline = now + self.config.close_timeout;
        let using = self
            .paths
            .list
            .iter_mut()
            .filter(|s| ids.contains(&s.ids.local));
        using
            .filter(|s| !s.is_ending())
            .for_each(|s| s.leave(deadline));
        self.update(now);
        Ok(())
    }

    /// Ask the peer to use a subflow only when no other is usable, or normally again (MP_PRIO);
    /// we do the same.
    pub fn set_backup(
        &mut self,
        now: Instant,
        id: SubflowId,
        backup: bool,
    ) -> Result<(), SignalError> {
        self.multipath()?;
        let subflow = self.paths.get_mut(id).ok_or(SignalError::NoSuchSubflow)?;
        subflow.backup.ours = backup;
        subflow.pending.prio = true;
        subflow.tcb.request_bare_ack();
        self.update(now);
        Ok(())
    }

    /// Addresses the peer announced and did not withdraw.
    pub fn remote_addrs(&self) -> &[RemoteAddr] {
        &self.signals.remote
    }
}

/// Withdrawn IDs in one option.
const MAX_REMOVED: usize = 16;

impl Connection {
    /// Options of an acceptable segment that concern addresses, priority and failure.
    pub(crate) fn on_signals(&mut self, now: Instant, i: usize, incoming: &Incoming<'_>) {
        for option in incoming.all {
            match option {
                MptcpOption::AddAddr(add) if add.echo => self.on_echo(add),
                MptcpOption::AddAddr(add) => self.on_add_addr(i, add),
                MptcpOption::RemoveAddr(ids) => self.on_remove_addr(now, ids),
                MptcpOption::Prio(prio) => self.on_prio(i, prio),
                MptcpOption::Fail(_) => self.on_fail(now, i),
                MptcpOption::FastClose(_) => self.on_fastclose(incoming),
                _ => {}
            }
        }
    }

    fn on_echo(&mut self, echo: &AddAddr) {
        self.counters.echo_in += 1;
        let same = |a: &&mut Announcement| {
            a.option.id == echo.address_id
                && a.option.addr == echo.addr
                && a.option.port == echo.port
        };
        if let Some(a) = self.signals.announced.iter_mut().find(same)
            && (a.pending || a.again.is_some() || a.tries > 0)
        {
            a.pending = false;
            a.again = None;
            self.events.push(Event::Echoed(echo.address_id));
        }
    }

    fn on_add_addr(&mut self, i: usize, add: &AddAddr) {
        let Some(remote) = self.handshake.remote else {
            return;
        };
        let local = self.handshake.local.key;
        let expected = keys::add_addr_hmac(remote.key, local, add.address_id, add.addr, add.port);
        if !add.hmac.is_some_and(|h| keys::same_u64(h, expected)) {
            self.counters.add_addr_dropped += 1;
            return;
        }
        self.counters.add_addr_in += 1;
        // Who made this HMAC has both keys.
        self.handshake.confirmed = true;
        if self.signals.echoes.len() < MAX_ECHOES {
            let echo = AddAddr {
                echo: true,
                hmac: None,
                ..add.clone()
            };
            self.signals.echoes.push_back((self.paths.list[i].id, echo));
        }
        let addr = RemoteAddr {
            id: add.address_id,
            addr: add.addr,
            port: add.port,
        };
        let known = &mut self.signals.remote;
        if known.contains(&addr) {
            return;
        }
        if known.len() >= MAX_ADDRESSES {
            self.counters.add_addr_dropped += 1;
            return;
        }
        known.push(addr);
        self.events.push(Event::Announced(addr));
    }

    /// Subflows to withdrawn addresses are closed in order: if the address is really gone, that
    /// ends when nothing is acknowledged (RFC 8684 §3.4.2 asks for a probe).
    fn on_remove_addr(&mut self, now: Instant, ids: &[u8]) {
        self.counters.remove_addr_in += 1;
        let deadline = now + self.config.close_timeout;
        let using = self
            .paths
            .list
            .iter_mut()
            .filter(|s| ids.contains(&s.ids.remote));
        using
            .filter(|s| !s.is_ending())
            .for_each(|s| s.leave(deadline));
        for id in ids {
            self.signals.remote.retain(|a| a.id != *id);
            self.events.push(Event::Withdrawn(*id));
        }
    }

    /// Version 1: the subflow it came on.
    fn on_prio(&mut self, i: usize, prio: &Prio) {
        self.counters.prio_in += 1;
        let subflow = &mut self.paths.list[i];
        if subflow.backup.theirs != prio.backup {
            subflow.backup.theirs = prio.backup;
            self.events.push(Event::PeerBackup(subflow.id, prio.backup));
        }
    }

    /// Ask a subflow for an ACK if a signal waits.
    pub(crate) fn pump_signals(&mut self, now: Instant) {
        self.signals.now = now;
        if self.mode != Mode::Multipath {
            return;
        }
        let Some(wanted) = self.signals.wanted() else {
            return;
        };
        let preferred = wanted.filter(|id| self.paths.active().any(|s| s.id == *id));
        let Some(id) = preferred.or_else(|| self.paths.best()) else {
            return;
        };
        self.signals.carrier = Some(id);
        self.request_bare_ack(id);
    }
}
