//! Addresses and priorities: ADD_ADDR, REMOVE_ADDR, MP_PRIO (RFC 8684 §3.4, §3.3.8).

mod announce;
mod ids;
mod learn;
mod priority;
mod probe;
mod row;
mod withdraw;

use crate::config::{Config, Path, SubflowId};
use crate::connection::input::Incoming;
use crate::connection::{Connection, Mode};
use crate::info::Counters;
use crate::subflow::Subflow;
use anabranch_tcp::Instant;
use anabranch_tcp::packed;
use anabranch_wire::mptcp::{MptcpOption, MptcpOptions};
use announce::Announcements;
use ids::Implicit;
use learn::Learned;
use std::time::Duration;
use withdraw::Withdrawals;

pub(crate) use priority::Priority;
pub(crate) use row::Row;

/// Addresses remembered of either side.
const MAX_ADDRESSES: usize = 32;

/// Signals of the connection, sent on pure ACKs.
#[derive(Debug)]
pub(crate) struct Signals {
    /// Addresses of the initial subflow.
    initial: Path,
    /// Our addresses that the peer is told of.
    ours: Announcements,
    /// Our addresses that came up without being announced.
    implicit: Vec<Implicit>,
    /// Our addresses that are gone.
    withdrawn: Withdrawals,
    /// What the peer told of its addresses.
    theirs: Learned,
    /// The subflow asked for an ACK to carry the next signal.
    carrier: Option<SubflowId>,
    /// Until then there were enough acknowledgements that only signal.
    held: Option<Instant>,
    now: Instant,
    /// What is not answered is repeated after this, and then more rarely.
    pace: Duration,
    /// Announcements do not wait for each other.
    together: bool,
}

packed!(Signals { initial, ours, implicit, theirs, carrier, held, now, pace } empty { withdrawn } kept { together });

impl Signals {
    pub(crate) fn new(initial: Path, config: &Config) -> Signals {
        Signals {
            initial,
            ours: Announcements::default(),
            implicit: Vec::new(),
            withdrawn: Withdrawals::default(),
            theirs: Learned::default(),
            carrier: None,
            held: None,
            now: Instant::default(),
            pace: Duration::from_millis(200),
            together: config.add_addr_together,
        }
    }

    pub(crate) fn initial(&self) -> Path {
        self.initial
    }

    /// Whether a subflow was asked for an ACK that carries signals.
    pub(crate) fn carried_by(&self, id: SubflowId) -> bool {
        self.carrier == Some(id)
    }

    /// Whether an address is next, to announce or to echo. It has an ACK to itself: it would not
    /// fit beside everything that a DSS may have, and peers expect it so.
    pub(crate) fn address_next(&self) -> bool {
        matches!(self.next(), Some(MptcpOption::AddAddr(_)))
    }

    /// Bytes of the address that the next ACK of a subflow will carry and nothing else, padded.
    pub(crate) fn address_len(&self, carrier: SubflowId) -> Option<u8> {
        self.address_next()
            .then(|| self.next_len(carrier))
            .filter(|len| *len > 0)
    }

    /// What is to be said first.
    fn next(&self) -> Option<MptcpOption> {
        let echo = self.theirs.next_echo().map(MptcpOption::AddAddr);
        let now = self.now;
        echo.or_else(|| self.withdrawn.next(now).map(MptcpOption::RemoveAddr))
            .or_else(|| self.ours.next(self.together).map(MptcpOption::AddAddr))
    }

    /// Bytes of the options that the next ACK of a subflow will carry at least, padded.
    pub(crate) fn next_len(&self, carrier: SubflowId) -> u8 {
        let next = self.next().filter(|_| self.carried_by(carrier));
        next.map_or(0, |option| option.padded_len() as u8)
    }

    /// Move signals to `out` as they fit into `free` bytes, `addresses` or others. Linux reads one
    /// ADD_ADDR of a segment, be it an announcement or an echo.
    pub(crate) fn take(
        &mut self,
        mut free: usize,
        addresses: bool,
        config: &Config,
        counters: &mut Counters,
        out: &mut MptcpOptions,
    ) {
        while let Some(option) = self.next() {
            let of_kind = self.address_next() == addresses;
            let alone = addresses && !out.is_empty() && !self.together;
            let room = free.checked_sub(option.padded_len());
            let (Some(left), true, false) = (room, of_kind, alone) else {
                return;
            };
            self.carrier = None;
            free = left;
            self.sent(&option, config, counters);
            out.push(option);
        }
    }

    fn sent(&mut self, option: &MptcpOption, config: &Config, counters: &mut Counters) {
        match option {
            MptcpOption::RemoveAddr(ids) => {
                counters.remove_addr_out += 1;
                let repeats = config.signal_repeats;
                self.withdrawn.sent(self.now, ids, self.pace, repeats);
            }
            MptcpOption::AddAddr(add) if add.echo => {
                counters.echo_out += 1;
                self.theirs.echoed();
            }
            _ => {
                counters.add_addr_out += 1;
                self.ours.sent(self.now, config);
            }
        }
    }

    /// The subflow that should carry the next signal: where it has to go, or `None` for any;
    /// nothing if there is no signal, or a subflow was asked already.
    fn wanted(&self) -> Option<Option<SubflowId>> {
        if self.carrier.is_some() || self.next().is_none() {
            return None;
        }
        Some(self.theirs.echo_on())
    }

    /// A subflow ends: another will have to carry what it was asked to.
    pub(crate) fn forget_carrier(&mut self, id: SubflowId) {
        if self.carrier == Some(id) {
            self.carrier = None;
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let all = [
            self.ours.deadline(),
            self.withdrawn.deadline(self.now),
            self.theirs.deadline(),
            self.held,
        ];
        all.into_iter().flatten().min()
    }

    /// Nothing is signalled any more.
    pub(crate) fn clear(&mut self) {
        self.ours.clear();
        self.withdrawn.clear();
        self.theirs.clear();
        self.carrier = None;
        self.held = None;
    }

    /// When a subflow may send one more ACK that only signals, if that is not now. `asked`: it will
    /// send one already.
    fn full_until(&self, subflow: &Subflow, asked: bool) -> Option<Instant> {
        let rto = subflow.tcb.rto();
        subflow.pending.row.full_until(self.now, asked.into(), rto)
    }

    /// Look again then.
    fn hold(&mut self, until: Instant) {
        self.held = Some(self.held.map_or(until, |held| held.min(until)));
    }
}

impl Connection {
    /// Options of an acceptable segment that concern addresses, priority and failure.
    pub(crate) fn on_signals(&mut self, now: Instant, i: usize, incoming: &Incoming<'_>) {
        for option in incoming.all {
            match option {
                MptcpOption::AddAddr(add) if add.echo => self.on_echo(add),
                MptcpOption::AddAddr(add) => self.on_add_addr(i, add),
                MptcpOption::RemoveAddr(ids) => self.on_remove_addr(now, ids),
                MptcpOption::Prio(prio) => self.on_prio(i, prio),
                MptcpOption::Fail(dsn) => self.on_fail(now, i, *dsn),
                MptcpOption::FastClose(_) => self.on_fastclose(now, incoming),
                _ => {}
            }
        }
    }

    /// Ask a subflow for an ACK if a signal waits. The peer must have our key first: until then
    /// every ACK brings it.
    pub(crate) fn pump_signals(&mut self, now: Instant) {
        self.signals.now = now;
        self.signals.held = None;
        if self.mode != Mode::Multipath || self.handshake.must_prove() {
            return;
        }
        self.pump_priorities(now);
        let Some(wanted) = self.signals.wanted() else {
            return;
        };
        let active = |id: &SubflowId| self.paths.active().any(|s| s.id == *id);
        let preferred = wanted.filter(active).or_else(|| self.paths.best());
        let Some(id) = preferred.or_else(|| self.paths.closing()) else {
            return;
        };
        let subflow = self.paths.list.iter().find(|s| s.id == id);
        let full = subflow.and_then(|s| self.signals.full_until(s, self.signals.asks_prio(s)));
        if let Some(until) = full {
            return self.signals.hold(until);
        }
        self.signals.carrier = Some(id);
        self.signals.pace = self.tcb(id).map_or(self.signals.pace, |tcb| tcb.rto());
        self.request_bare_ack(id);
    }

    pub(crate) fn signal_timers(&mut self, now: Instant) {
        self.signals.now = now;
        self.signals.ours.on_deadline(now);
        self.probe_timers(now);
    }
}
