//! The round-trip time as a receiver knows it, who sends nothing that could be timed.

use crate::Instant;
use std::time::Duration;

/// Estimate of the time from an acknowledgement to the data it lets go.
#[derive(Debug, Default)]
pub(crate) struct RcvRtt {
    estimate: Option<Duration>,
    /// Echo that was looked at last: the first segment that carries it is timed.
    echo: Option<u32>,
    /// A window of data is over at this position; it began then.
    window: Option<(u64, Instant)>,
}

crate::packed!(RcvRtt {
    estimate,
    echo,
    window
});

impl RcvRtt {
    pub(crate) fn get(&self) -> Option<Duration> {
        self.estimate
    }

    /// Data came that carries the timestamp `echo` of something we sent `rtt` ago. A sender that
    /// had nothing to send makes it too long: less is believed at once, more slowly.
    pub(crate) fn echoed(&mut self, echo: u32, rtt: Duration) {
        if self.echo.replace(echo) != Some(echo) {
            self.estimate = Some(match self.estimate {
                Some(known) if rtt > known => (known * 7 + rtt) / 8,
                _ => rtt,
            });
        }
    }

    /// Without timestamps: no more than one window can come in a round trip. `nxt` is the next
    /// position expected, `edge` the right edge of the window.
    pub(crate) fn arrived(&mut self, now: Instant, nxt: u64, edge: u64) {
        let Some((end, began)) = self.window else {
            self.window = Some((edge, now));
            return;
        };
        if nxt >= end {
            let took = now.since(began);
            self.estimate = Some(self.estimate.map_or(took, |known| known.min(took)));
            self.window = Some((edge, now));
        }
    }
}
