//! Round-trip time and retransmission timeout (RFC 6298).

use crate::Instant;
use crate::config::Retransmit;
use std::time::Duration;

/// How long a minimum of the round-trip time is believed: between one and two of these.
const MIN_RTT_WINDOW: Duration = Duration::from_secs(150);

/// Round-trip time estimator.
#[derive(Debug)]
pub(crate) struct Rtt {
    smoothed: Option<(Duration, Duration)>,
    /// Minimum of this period and of the one before.
    minimum: [Duration; 2],
    period_from: Instant,
    /// Doublings of the RTO since the last measurement (RFC 6298 §5).
    backoff: u32,
    /// Timeouts since something new was acknowledged.
    streak: u32,
}

crate::packed!(Rtt {
    smoothed,
    minimum,
    period_from,
    backoff,
    streak
});

impl Rtt {
    pub(crate) fn new(now: Instant) -> Rtt {
        Rtt {
            smoothed: None,
            minimum: [Duration::MAX; 2],
            period_from: now,
            backoff: 0,
            streak: 0,
        }
    }

    /// A measurement that is not ambiguous (Karn).
    pub(crate) fn sample(&mut self, now: Instant, rtt: Duration) {
        self.backoff = 0;
        self.sample_min(now, rtt);
        let (srtt, rttvar) = match self.smoothed {
            None => (rtt, rtt / 2),
            Some((srtt, rttvar)) => ((srtt * 7 + rtt) / 8, (rttvar * 3 + srtt.abs_diff(rtt)) / 4),
        };
        self.smoothed = Some((srtt, rttvar));
    }

    /// A measurement after nothing was measured for long: what was known before is forgotten.
    pub(crate) fn begin(&mut self, now: Instant, rtt: Duration) {
        self.smoothed = None;
        self.sample(now, rtt);
    }

    /// A measurement for the minimum only: without the delay of a delayed acknowledgement.
    pub(crate) fn sample_min(&mut self, now: Instant, rtt: Duration) {
        if now.since(self.period_from) > MIN_RTT_WINDOW {
            self.minimum = [Duration::MAX, self.minimum[0]];
            self.period_from = now;
        }
        self.minimum[0] = self.minimum[0].min(rtt);
    }

    pub(crate) fn srtt(&self) -> Option<Duration> {
        self.smoothed.map(|s| s.0)
    }

    pub(crate) fn rttvar(&self) -> Option<Duration> {
        self.smoothed.map(|s| s.1)
    }

    pub(crate) fn min(&self) -> Option<Duration> {
        Some(self.minimum[0].min(self.minimum[1])).filter(|m| *m != Duration::MAX)
    }

    /// Without backoff. The minimum is added to SRTT rather than compared with the sum, so that a
    /// steady path with a delay near the minimum does not time out on a delayed acknowledgement.
    pub(crate) fn base_rto(&self, config: &Retransmit) -> Duration {
        let rto = match self.smoothed {
            None => config.initial_rto,
            Some((srtt, rttvar)) => srtt + (rttvar * 4).max(config.min_rto),
        };
        rto.min(config.max_rto)
    }

    /// With backoff.
    pub(crate) fn rto(&self, config: &Retransmit) -> Duration {
        backed_off(self.base_rto(config), self.backoff, config.max_rto)
    }

    /// The retransmission timer expired.
    pub(crate) fn back_off(&mut self) {
        self.backoff += 1;
        self.streak += 1;
    }

    /// Something new was acknowledged.
    pub(crate) fn progress(&mut self) {
        self.streak = 0;
    }

    /// The expiry was spurious.
    pub(crate) fn reset_backoff(&mut self) {
        self.backoff = 0;
    }

    /// Doublings of the timeout.
    pub(crate) fn backoff(&self) -> u32 {
        self.backoff
    }

    /// Timeouts in a row.
    pub(crate) fn streak(&self) -> u32 {
        self.streak
    }
}

/// `base` doubled `times` times, at most `max`.
pub(crate) fn backed_off(base: Duration, times: u32, max: Duration) -> Duration {
    base.saturating_mul(1u32 << times.min(20)).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rto_follows_rfc_6298() {
        let config = Retransmit {
            min_rto: Duration::ZERO,
            ..Retransmit::default()
        };
        let ms = Duration::from_millis;
        let mut rtt = Rtt::new(Instant(0));
        assert_eq!(rtt.rto(&config), Duration::from_secs(1));
        rtt.sample(Instant(0), ms(100));
        assert_eq!((rtt.srtt(), rtt.rttvar()), (Some(ms(100)), Some(ms(50))));
        assert_eq!(rtt.rto(&config), ms(300));
        rtt.sample(Instant(0), ms(180));
        assert_eq!(
            (rtt.srtt(), rtt.rttvar()),
            (Some(ms(110)), Some(Duration::from_micros(57_500)))
        );
        rtt.back_off();
        rtt.back_off();
        assert_eq!(rtt.rto(&config), ms(340) * 4);
        for _ in 0..40 {
            rtt.back_off();
        }
        assert_eq!(rtt.rto(&config), config.max_rto);
    }

    #[test]
    fn an_old_minimum_is_forgotten() {
        let at = |s: u64| Instant(s * 1_000_000_000);
        let mut rtt = Rtt::new(at(0));
        rtt.sample(at(1), Duration::from_millis(10));
        rtt.sample(at(160), Duration::from_millis(50));
        assert_eq!(rtt.min(), Some(Duration::from_millis(10)));
        rtt.sample(at(320), Duration::from_millis(60));
        assert_eq!(rtt.min(), Some(Duration::from_millis(50)));
    }
}
