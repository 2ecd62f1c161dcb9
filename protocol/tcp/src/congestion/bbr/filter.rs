//! Filters of BBR's model: the most of something over a window that moves.

use crate::Instant;
use crate::rest::{Pack, Parcel};

/// The greatest delivery rate of this cycle of probing and of the one before
/// (draft-ietf-ccwg-bbr §5.5.3 to §5.5.6).
#[derive(Debug, Default)]
pub(super) struct MaxBw([u64; 2]);

impl Pack for MaxBw {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        self.0.pack(parcel);
    }
}

impl MaxBw {
    pub(super) fn get(&self) -> u64 {
        self.0[0].max(self.0[1])
    }

    pub(super) fn update(&mut self, rate: u64) {
        self.0[0] = self.0[0].max(rate);
    }

    /// A cycle of probing is over. One that measured nothing does not count.
    pub(super) fn advance(&mut self) {
        if self.0[0] > 0 {
            self.0 = [0, self.0[0]];
        }
    }
}

/// The greatest of the values seen in the last rounds, kept as the best, the best after it and the
/// best after that (Kathleen Nichols' filter).
#[derive(Debug, Default)]
pub(super) struct WindowedMax([(u64, u64); 3]);

impl Pack for WindowedMax {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        self.0.pack(parcel);
    }
}

impl WindowedMax {
    pub(super) fn get(&self) -> u64 {
        self.0[0].1
    }

    /// `value` in round `round`, of which the last `length` count.
    pub(super) fn update(&mut self, round: u64, length: u64, value: u64) {
        let [best, second, third] = &mut self.0;
        let new = (round, value);
        if value >= best.1 || round - third.0 > length {
            self.0 = [new; 3];
            return;
        }
        if value >= second.1 {
            (*second, *third) = (new, new);
        } else if value >= third.1 {
            *third = new;
        }
        while round - self.0[0].0 > length {
            self.0 = [self.0[1], self.0[2], new];
        }
        // Candidates are spread over the window, so that there is one when the best leaves it.
        let [best, second, third] = &mut self.0;
        if second.0 == best.0 && round - best.0 > length / 4 {
            (*second, *third) = (new, new);
        } else if third.0 == second.0 && round - best.0 > length / 2 {
            *third = new;
        }
    }
}

/// How much more than expected is acknowledged at a time (draft-ietf-ccwg-bbr §5.5.9).
#[derive(Debug, Default)]
pub(super) struct Aggregation {
    since: Instant,
    delivered: u64,
    filter: WindowedMax,
}

crate::packed!(Aggregation {
    since,
    delivered,
    filter
});

/// Rounds for which an aggregate is remembered once the pipe was full.
const FILTER_LEN: u64 = 10;

impl Aggregation {
    pub(super) fn extra(&self) -> u64 {
        self.filter.get()
    }

    /// Counting begins again.
    pub(super) fn restart(&mut self, now: Instant) {
        self.since = now;
        self.delivered = 0;
    }

    /// `acked` bytes were acknowledged where `bw` bytes per second are expected; no more than
    /// `cwnd` can be extra. `steady`: the pipe was full before.
    pub(super) fn update(
        &mut self,
        now: Instant,
        acked: u64,
        bw: u64,
        cwnd: u64,
        (round, steady): (u64, bool),
    ) {
        let mut expected = super::bytes_in(bw, now.since(self.since));
        if self.delivered <= expected {
            self.restart(now);
            expected = 0;
        }
        self.delivered += acked;
        let extra = (self.delivered - expected.min(self.delivered)).min(cwnd);
        let length = if steady { FILTER_LEN } else { 1 };
        self.filter.update(round, length, extra);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_rate_of_two_cycles_counts() {
        let mut filter = MaxBw::default();
        filter.update(10);
        filter.update(7);
        assert_eq!(filter.get(), 10);
        filter.advance();
        filter.update(8);
        assert_eq!(filter.get(), 10);
        filter.advance();
        assert_eq!(filter.get(), 8);
        filter.advance();
        assert_eq!(
            filter.get(),
            8,
            "a cycle without a measurement does not forget"
        );
    }

    #[test]
    fn a_maximum_leaves_with_its_window_and_the_next_best_is_known() {
        let mut filter = WindowedMax::default();
        let values = [5, 9, 3, 4, 2, 6, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
        let seen: Vec<_> = (0..)
            .zip(values)
            .map(|(round, value)| {
                filter.update(round, 10, value);
                filter.get()
            })
            .collect();
        assert_eq!(seen[..12], [5, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
        assert_eq!(seen[12..16], [6, 6, 6, 6]);
        assert_eq!(seen[16], 1);
    }

    #[test]
    fn acknowledgements_in_clumps_are_extra() {
        let mut aggregation = Aggregation::default();
        let round = (1, true);
        // 1000 bytes a millisecond are expected; 10,000 come every ten.
        for n in 1..5 {
            let now = Instant(n * 10_000_000);
            aggregation.update(now, 10_000, 1_000_000, 100_000, round);
        }
        assert_eq!(aggregation.extra(), 10_000);
    }
}
