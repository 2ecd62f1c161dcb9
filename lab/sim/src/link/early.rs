//! Random early detection (Floyd and Jacobson, IEEE/ACM Transactions on Networking 1(4), 1993).

/// What a packet counts for in the average.
const WEIGHT: f64 = 0.002;

/// How many packets wait, on average.
#[derive(Debug, Default)]
pub(super) struct Average(f64);

impl Average {
    /// A packet comes while so many wait.
    pub(super) fn note(&mut self, waiting: usize) {
        self.0 += (waiting as f64 - self.0) * WEIGHT;
    }

    /// The probability that it is dropped where at most `limit` may wait: 0 up to a quarter of
    /// that, 0.1 at half, 1 at the limit, and linear in between, as in the testbed of Khalili et al.,
    /// CoNEXT 2012.
    pub(super) fn drop_probability(&self, limit: usize) -> f64 {
        let part = self.0 / limit.max(1) as f64;
        match part {
            ..0.25 => 0.0,
            ..0.5 => (part - 0.25) * 0.4,
            _ => (0.1 + (part - 0.5) * 1.8).min(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_the_queue_the_more_is_dropped() {
        let of = |waiting: f64| Average(waiting).drop_probability(100);
        assert_eq!([of(0.0), of(25.0), of(100.0)], [0.0, 0.0, 1.0]);
        assert!((of(37.5) - 0.05).abs() < 1e-9, "{}", of(37.5));
        assert!((of(75.0) - 0.55).abs() < 1e-9, "{}", of(75.0));
    }

    #[test]
    fn a_burst_hardly_moves_the_average() {
        let mut average = Average::default();
        (0..10).for_each(|_| average.note(100));
        assert_eq!(average.drop_probability(100), 0.0);
        (0..2000).for_each(|_| average.note(100));
        assert!(average.drop_probability(100) > 0.9);
    }
}
