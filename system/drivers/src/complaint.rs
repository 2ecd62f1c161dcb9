//! Log lines about what a device does wrong: one in a while, however often it happens.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// No kind of complaint is logged more often.
const EVERY: Duration = Duration::from_secs(10);

/// One kind of complaint.
#[derive(Debug, Default)]
pub(crate) struct Complaint {
    last: Option<Instant>,
    /// How often nothing was said since.
    silent: u64,
}

impl Complaint {
    /// Logs one line about `device`, unless one was logged lately.
    pub(crate) fn say(&mut self, device: &str, what: impl Display) {
        let Some(silent) = self.due(Instant::now()) else {
            return;
        };
        match silent {
            0 => tracing::warn!("{device}: {what}"),
            times => tracing::warn!("{device}: {what} (and {times} times before)"),
        }
    }

    /// Whether it is time for a line, and how many were left out.
    fn due(&mut self, now: Instant) -> Option<u64> {
        if self
            .last
            .is_some_and(|last| now.duration_since(last) < EVERY)
        {
            self.silent += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_line_in_ten_seconds() {
        let (mut complaint, start) = (Complaint::default(), Instant::now());
        assert_eq!(complaint.due(start), Some(0));
        for n in 1..=1000 {
            assert_eq!(complaint.due(start + Duration::from_millis(n)), None);
        }
        assert_eq!(complaint.due(start + EVERY), Some(1000));
        assert_eq!(complaint.due(start + 2 * EVERY), Some(0));
    }
}
