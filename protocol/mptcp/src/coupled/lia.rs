//! LIA: the linked increases algorithm (RFC 6356).

use super::{Coupling, Figures};
use anabranch_tcp::congestion::Steer;

/// All windows together grow as one TCP's on the best path would, and none faster than TCP's.
#[derive(Clone, Copy, Debug)]
pub struct Lia;

impl Coupling for Lia {
    fn weigh(&mut self, paths: &[Figures], steers: &mut [Steer]) {
        let total: f64 = paths.iter().map(|p| p.window).sum();
        let rate: f64 = paths.iter().map(Figures::rate).sum();
        let best = paths
            .iter()
            .map(|p| p.window / p.rtt.powi(2))
            .fold(0.0, f64::max);
        // RFC 6356 §3.1; below, its increase for each acknowledgement over that of TCP.
        let alpha = total * best / rate.powi(2);
        for (path, steer) in paths.iter().zip(steers) {
            steer.gain = (alpha * path.window / total).min(1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::path;
    use super::*;

    #[test]
    fn one_path_alone_is_tcp() {
        let mut steers = [Steer::default()];
        Lia.weigh(&[path(10.0, 0.1)], &mut steers);
        assert!((steers[0].gain - 1.0).abs() < 1e-9);
    }

    #[test]
    fn two_equal_paths_grow_together_as_half_of_one() {
        // alpha = 20 × 10/0.01 / (200)² = 0.5: each window by 0.25 segments a round trip.
        let mut steers = [Steer::default(); 2];
        Lia.weigh(&[path(10.0, 0.1); 2], &mut steers);
        assert!((steers[0].gain - 0.25).abs() < 1e-9, "{steers:?}");
    }
}
