//! BALIA: balanced linked adaptation.
//!
//! Peng, Walid, Hwang, Low: "Multipath TCP: analysis, design, and implementation", IEEE/ACM
//! Transactions on Networking 24(1), 2016; draft-walid-mptcp-congestion-control.

use super::{Coupling, Figures};
use anabranch_tcp::congestion::Steer;

/// A compromise between friendliness and responsiveness, in growth and in reduction.
#[derive(Clone, Copy, Debug)]
pub struct Balia;

impl Coupling for Balia {
    fn weigh(&mut self, paths: &[Figures], steers: &mut [Steer]) {
        let sum: f64 = paths.iter().map(Figures::rate).sum();
        let most = paths.iter().map(Figures::rate).fold(0.0, f64::max);
        for (path, steer) in paths.iter().zip(steers) {
            let rate = path.rate();
            let a = most / rate;
            steer.gain = (rate / sum).powi(2) * (1.0 + a) / 2.0 * (4.0 + a) / 5.0;
            steer.keep = 1.0 - a.min(1.5) / 2.0;
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
        Balia.weigh(&[path(10.0, 0.1)], &mut steers);
        assert_eq!((steers[0].gain, steers[0].keep), (1.0, 0.5));
    }

    #[test]
    fn a_path_with_little_gives_up_more_of_it() {
        let mut steers = [Steer::default(); 2];
        Balia.weigh(&[path(10.0, 0.1), path(2.0, 0.1)], &mut steers);
        assert_eq!((steers[0].keep, steers[1].keep), (0.5, 0.25));
    }
}
