//! What is sent, in data order: bytes the application gave, cut into runs.
//!
//! A *run* is the unit of scheduling, mapping and reinjection: up to 64 KB given to one subflow
//! under one mapping. Sent again, it is the same run: the boundaries of a mapping never shift over
//! data that was sent before (a receiver that trims overlaps wrongly would deliver wrong bytes).
//! Only what the peer has acknowledged is cut off its head. So the position after its last byte
//! names a run.

mod ungrown;

use crate::config::SubflowId;
use crate::schedule::RunView;
use anabranch_tcp::Instant;
use anabranch_tcp::autotune::SendSize;
use anabranch_tcp::budget::Budget;
use anabranch_tcp::packed;
use anabranch_tcp::queue::{ByteQueue, Slices};
use anabranch_wire::checksum::{Sum, sum_slices};
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::{BTreeSet, VecDeque};

/// Bytes sent and not acknowledged at data level.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// First byte.
    pub(crate) start: u64,
    /// After the last byte.
    pub(crate) end: u64,
    /// DATA_FIN was part of its mapping.
    pub(crate) fin: bool,
    /// When it was given to a subflow first.
    at: Instant,
    /// It was given to another since.
    again: bool,
    /// Subflows that have it and were not acknowledged by TCP.
    holders: SmallVec<[SubflowId; 2]>,
    /// Sum of the payload, once it was needed.
    sum: Option<Sum>,
}

/// Our DATA_FIN.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fin {
    /// The application may send more.
    No,
    /// It follows the last byte, once that is sent.
    Wanted,
    /// It left.
    Sent,
    /// It was acknowledged.
    Acked,
}

packed!(
    enum Fin {
        No,
        Wanted,
        Sent,
        Acked,
    }
);

/// The data send queue.
#[derive(Debug)]
pub(crate) struct SendQueue {
    /// From the first byte not acknowledged.
    bytes: ByteQueue,
    pub(crate) size: SendSize,
    /// Sum of the congestion windows, and what is selectively acknowledged: for the size.
    windows: (u64, u64),
    /// Most bytes that may wait to be given to a subflow.
    lowat: Option<u32>,
    /// First byte that was never given to a subflow.
    next: u64,
    /// `bytes.start()..next`, without gaps.
    runs: VecDeque<Run>,
    /// Runs (by end) to be sent again.
    reinject: BTreeSet<u64>,
    /// First position the peer does not allow: the maximum over all subflows.
    edge: u64,
    /// Largest window the peer ever offered.
    max_window: u64,
    /// Data goes by several subflows.
    pub(crate) spread: bool,
    fin: Fin,
    /// End of the last run that did not fill its segments.
    small: u64,
    /// What comes before does not wait to fill a segment.
    pushed: u64,
    /// The application said that more follows.
    pub(crate) more: bool,
    /// A send was cut short.
    pub(crate) wants_room: bool,
}

packed!(SendQueue { bytes, size, windows, lowat, next, edge, max_window, spread, fin, small, pushed, more, wants_room } empty { runs, reinject });

/// What bounds the next new run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fit {
    /// Bytes the subflow could send now.
    pub(crate) room: u64,
    /// Bytes of the peer's window it may use.
    pub(crate) window: u64,
    /// Payload of a full-sized segment there.
    pub(crate) mss: u64,
    /// Largest run worth making there.
    pub(crate) max: u64,
    /// Smallest run worth making there unless it is the last; with less, acknowledgements that are
    /// under way make more room.
    pub(crate) least: u64,
    /// Hold a partial segment back while an earlier one is unacknowledged (RFC 9293 §3.7.4;
    /// Minshall's variant does not delay the tail of a large write).
    pub(crate) nagle: bool,
    /// Hold a partial segment back.
    pub(crate) cork: bool,
}

impl SendQueue {
    pub(crate) fn new(size: SendSize, budget: Budget) -> SendQueue {
        SendQueue {
            bytes: ByteQueue::new(0, budget),
            size,
            windows: (0, 0),
            lowat: None,
            next: 0,
            runs: VecDeque::new(),
            reinject: BTreeSet::new(),
            edge: 0,
            max_window: 0,
            spread: false,
            fin: Fin::No,
            small: 0,
            pushed: 0,
            more: false,
            wants_room: false,
        }
    }

    /// First byte not acknowledged.
    pub(crate) fn una(&self) -> u64 {
        self.bytes.start()
    }

    /// First byte never sent.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// After the last byte the application gave.
    pub(crate) fn end(&self) -> u64 {
        self.bytes.end()
    }

    pub(crate) fn fin(&self) -> Fin {
        self.fin
    }

    pub(crate) fn set_fin(&mut self, fin: Fin) {
        self.fin = self.fin.max(fin);
    }

    /// Most bytes held.
    pub(crate) fn limit(&self) -> usize {
        self.size.get(self.windows.0, self.windows.1)
    }

    /// What the limits follow: the congestion windows, and the application's own bound of what may
    /// wait to be sent.
    pub(crate) fn set_bounds(&mut self, windows: (u64, u64), lowat: Option<u32>) {
        (self.windows, self.lowat) = (windows, lowat);
    }

    /// Bytes that [`SendQueue::push`] would take.
    pub(crate) fn room(&self) -> usize {
        let free = self.limit().saturating_sub(self.bytes.len() as usize);
        match self.lowat {
            Some(lowat) => free.min((lowat as usize).saturating_sub(self.unassigned() as usize)),
            None => free,
        }
    }

    /// Whether there is so much room that it is worth waking a writer.
    pub(crate) fn is_writable(&self) -> bool {
        let free = self.limit().saturating_sub(self.bytes.len() as usize);
        let few = |lowat| 2 * self.unassigned() < u64::from(lowat);
        free >= self.limit() / 4 && self.lowat.is_none_or(few)
    }

    /// Everything there is waits no longer to fill a segment.
    pub(crate) fn push_all(&mut self) {
        self.pushed = self.end();
    }

    /// Take bytes from the application; how many.
    pub(crate) fn push(&mut self, mut bytes: Bytes) -> usize {
        let len = bytes.len().min(self.room());
        let all = len == bytes.len();
        bytes.truncate(len);
        let taken = if len > 0 && self.bytes.push(bytes) {
            len
        } else {
            0
        };
        self.wants_room |= !all || taken < len;
        taken
    }

    /// Bytes waiting to be given to a subflow.
    pub(crate) fn unassigned(&self) -> u64 {
        self.end() - self.next
    }

    /// Bytes the peer's window has left.
    pub(crate) fn window(&self) -> u64 {
        self.edge.saturating_sub(self.next)
    }

    /// The peer allows up to `edge`; never less than before (RFC 8684 §3.3.5).
    pub(crate) fn allow(&mut self, data_ack: u64, window: u64) -> bool {
        self.max_window = self.max_window.max(window);
        let edge = data_ack.saturating_add(window);
        let more = edge > self.edge;
        self.edge = self.edge.max(edge);
        more
    }

    /// Data-level flow control ends: each TCP has its own.
    pub(crate) fn allow_all(&mut self) {
        self.edge = u64::MAX;
    }

    /// Whether anything sent is unacknowledged, DATA_FIN included.
    pub(crate) fn outstanding(&self) -> bool {
        self.una() < self.next || self.fin == Fin::Sent
    }

    /// Whether there is anything that a subflow may have to be given.
    pub(crate) fn waits(&self) -> bool {
        self.una() < self.end()
    }

    /// Whether a DATA_FIN of its own (without data) is to be sent, or sent again.
    pub(crate) fn fin_due(&self) -> bool {
        matches!(self.fin, Fin::Wanted | Fin::Sent) && self.next == self.end()
    }

    /// The length of the next run of new bytes, or `None`: wait for acknowledgements or window.
    pub(crate) fn fit(&self, fit: &Fit) -> Option<u64> {
        let queued = self.unassigned();
        let idle = self.una() == self.next;
        let len = queued.min(fit.room).min(fit.max).min(fit.window);
        if len == 0 {
            return None;
        }
        if len == queued {
            let small = self.small > self.una();
            let full = len - len % fit.mss;
            let may_wait = self.fin == Fin::No && self.next + full >= self.pushed;
            let hold = may_wait && (fit.cork || (fit.nagle && small));
            let len = if hold { len - len % fit.mss } else { len };
            return (len > 0).then_some(len);
        }
        let whole = len - len % fit.mss;
        if fit.window == len && len < fit.mss {
            // Silly window avoidance (RFC 9293 §3.8.6.2.1).
            return (idle || len >= self.max_window / 2).then_some(len);
        }
        if whole < fit.least {
            return None;
        }
        Some(if whole == 0 { len } else { whole })
    }

    /// Give the next `len` new bytes to a subflow with segments of `mss`; the last ones take the
    /// DATA_FIN along if `with_fin`.
    pub(crate) fn assign(
        &mut self,
        now: Instant,
        len: u64,
        (to, mss): (SubflowId, u64),
        with_fin: bool,
    ) -> Run {
        let start = self.next;
        self.next += len;
        if !len.is_multiple_of(mss) {
            self.small = self.next;
        }
        let fin = with_fin && self.fin == Fin::Wanted && self.next == self.end();
        if fin {
            self.fin = Fin::Sent;
        }
        let mut holders = SmallVec::new();
        holders.push(to);
        let run = Run {
            start,
            end: self.next,
            fin,
            at: now,
            again: false,
            holders,
            sum: None,
        };
        self.runs.push_back(run.clone());
        run
    }

    /// Payload of a run.
    pub(crate) fn payload(&mut self, run: &Run) -> Slices {
        self.bytes.slices(run.start..run.end)
    }

    /// Payload of a run with its sum, remembered for the next time.
    pub(crate) fn payload_sum(&mut self, run: &Run) -> (Slices, Sum) {
        let slices = self.payload(run);
        if let Some(sum) = run.sum {
            return (slices, sum);
        }
        let sum = sum_slices(slices.iter().map(AsRef::as_ref));
        if let Some(kept) = self.run_mut(run.end) {
            kept.sum = Some(sum);
        }
        (slices, sum)
    }

    fn run_mut(&mut self, end: u64) -> Option<&mut Run> {
        let i = self.runs.partition_point(|r| r.end < end);
        self.runs.get_mut(i).filter(|r| r.end == end)
    }

    /// Everything before `position` was acknowledged at data level. Bytes that were.
    pub(crate) fn acknowledge(&mut self, position: u64) -> u64 {
        let before = self.una();
        let una = position.min(self.next);
        if una <= before {
            return 0;
        }
        self.bytes.advance(una);
        while self.runs.front().is_some_and(|r| r.end <= una) {
            self.runs.pop_front();
        }
        if let Some(head) = self.runs.front_mut()
            && head.start < una
        {
            head.start = una;
            head.sum = None;
        }
        while self.reinject.first().is_some_and(|end| *end <= una) {
            self.reinject.pop_first();
        }
        una - before
    }

    /// A subflow's TCP acknowledged the run that ends there.
    pub(crate) fn delivered(&mut self, end: u64, by: SubflowId) {
        if let Some(run) = self.run_mut(end) {
            run.holders.retain(|h| *h != by);
        }
    }

    /// A subflow will not deliver the run that ends there, or not soon: send it again unless
    /// another that makes progress has it too. Whether it will be.
    pub(crate) fn doubt(&mut self, end: u64, gone: Option<SubflowId>, live: &[SubflowId]) -> bool {
        let Some(run) = self.run_mut(end) else {
            return false;
        };
        run.holders.retain(|h| Some(*h) != gone);
        let again = !run.holders.iter().any(|h| live.contains(h));
        if again {
            self.reinject.insert(end);
        }
        again
    }

    /// Whether a subflow that makes progress still has to deliver the run that ends there.
    pub(crate) fn is_under_way(&self, end: u64, live: &[SubflowId]) -> bool {
        let run = self.run(end);
        run.is_some_and(|r| r.holders.iter().any(|h| live.contains(h)))
    }

    /// Nothing from `position` on that only subflow `gone` delivered has arrived.
    pub(crate) fn doubt_from(&mut self, position: u64, gone: SubflowId, live: &[SubflowId]) {
        let first = self.runs.partition_point(|r| r.end <= position);
        let ends: Vec<u64> = self.runs.range(first..).map(|r| r.end).collect();
        for end in ends {
            self.doubt(end, Some(gone), live);
        }
    }

    /// The first run to be sent again.
    pub(crate) fn reinjection(&self) -> Option<&Run> {
        let end = *self.reinject.first()?;
        let i = self.runs.partition_point(|r| r.end < end);
        self.runs.get(i)
    }

    /// Give a run to one more subflow.
    pub(crate) fn reassign(&mut self, end: u64, to: SubflowId) -> Option<Run> {
        self.reinject.remove(&end);
        let run = self.run_mut(end)?;
        run.holders.push(to);
        run.again = true;
        Some(run.clone())
    }

    /// Do not send a run again after all.
    pub(crate) fn spare(&mut self, end: u64) {
        self.reinject.remove(&end);
    }

    /// Nothing is sent again at data level any more.
    pub(crate) fn forget_reinjections(&mut self) {
        self.reinject.clear();
    }

    /// The run that ends there.
    pub(crate) fn run(&self, end: u64) -> Option<&Run> {
        let i = self.runs.partition_point(|r| r.end < end);
        self.runs.get(i).filter(|r| r.end == end)
    }

    /// What was sent and is not acknowledged, oldest first.
    pub(crate) fn runs(&self) -> &VecDeque<Run> {
        &self.runs
    }

    /// The oldest run not acknowledged.
    pub(crate) fn head(&self) -> Option<&Run> {
        self.runs.front()
    }

    /// Nothing will be sent any more.
    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.reinject.clear();
        self.bytes.advance(self.end());
        self.next = self.end();
    }
}

impl Run {
    pub(crate) fn view(&self) -> RunView<'_> {
        RunView {
            start: self.start,
            end: self.end,
            at: self.at,
            holders: &self.holders,
            again: self.again,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether a subflow has it that has not acknowledged it.
    pub(crate) fn held_by(&self, id: SubflowId) -> bool {
        self.holders.contains(&id)
    }
}
