//! OLIA: opportunistic linked increases.
//!
//! Khalili, Gast, Popovic, Upadhyay, Le Boudec: "MPTCP is not Pareto-optimal: Performance issues
//! and a possible solution", CoNEXT 2012; draft-khalili-mptcp-congestion-control.

use super::{Coupling, Figures};
use anabranch_tcp::congestion::Steer;

/// Windows grow by their share of the rate, and what the largest would gain goes to the best paths
/// that have small ones.
#[derive(Clone, Copy, Debug)]
pub struct Olia;

/// Windows that differ by less are equal.
const EQUAL: f64 = 1e-6;

impl Coupling for Olia {
    fn weigh(&mut self, paths: &[Figures], steers: &mut [Steer]) {
        let rate: f64 = paths.iter().map(Figures::rate).sum();
        // The rate of a TCP there, squared: it is as the root of what is delivered between losses,
        // over the round trip.
        let quality = |p: &Figures| p.between_losses / p.rtt.powi(2);
        let best = paths.iter().map(quality).fold(0.0, f64::max);
        let largest = paths.iter().map(|p| p.window).fold(0.0, f64::max);
        let is_largest = |p: &Figures| p.window >= largest * (1.0 - EQUAL);
        let is_collected = |p: &Figures| quality(p) >= best * (1.0 - EQUAL) && !is_largest(p);
        let collected = paths.iter().filter(|p| is_collected(p)).count() as f64;
        let large = paths.iter().filter(|p| is_largest(p)).count() as f64;
        let n = paths.len() as f64;
        for (path, steer) in paths.iter().zip(steers) {
            let alpha = if collected == 0.0 {
                0.0
            } else if is_collected(path) {
                1.0 / (n * collected)
            } else if is_largest(path) {
                -1.0 / (n * large)
            } else {
                0.0
            };
            steer.gain = (path.rate() / rate).powi(2) + alpha;
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
        Olia.weigh(&[path(10.0, 0.1)], &mut steers);
        assert!((steers[0].gain - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_best_path_gains_what_the_largest_window_gives_up() {
        let best = Figures {
            between_losses: 1e6,
            ..path(2.0, 0.1)
        };
        let mut steers = [Steer::default(); 2];
        Olia.weigh(&[best, path(10.0, 0.1)], &mut steers);
        let share = |w: f64| (w / 12.0).powi(2);
        assert!((steers[0].gain - (share(2.0) + 0.5)).abs() < 1e-9);
        assert!((steers[1].gain - (share(10.0) - 0.5)).abs() < 1e-9);
    }
}
