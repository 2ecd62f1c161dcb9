//! Progress, as it happens: a line that redraws itself, or plain lines where nobody watches a
//! terminal.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use super::text;

/// Characters of the bar.
const BAR: usize = 24;
/// Between two pictures on a terminal.
const REDRAW: Duration = Duration::from_millis(100);
/// Between two plain lines.
const LINE: Duration = Duration::from_secs(1);
/// Rates are averages over this.
const WINDOW: Duration = Duration::from_millis(500);

/// What a link does now.
#[derive(Clone, Debug)]
pub(crate) struct LinkState {
    /// Bytes it has carried.
    pub(crate) bytes: u64,
    /// It is cut.
    pub(crate) cut: bool,
}

/// Progress of one transfer on standard error.
#[derive(Debug)]
pub(crate) struct View {
    title: String,
    size: u64,
    terminal: bool,
    shown: Option<Instant>,
    /// Earlier readings: time, bytes done, bytes of each link.
    past: Vec<(Instant, u64, Vec<u64>)>,
}

impl View {
    /// Of `size` bytes.
    pub(crate) fn new(title: String, size: u64) -> View {
        View {
            title,
            size,
            terminal: stderr().is_terminal(),
            shown: None,
            past: Vec::new(),
        }
    }

    /// `done` bytes have arrived; shows it when it is time to.
    pub(crate) fn update(&mut self, now: Instant, done: u64, links: &[LinkState]) {
        self.past
            .push((now, done, links.iter().map(|l| l.bytes).collect()));
        // The newest reading that is older than the window stays: rates are counted from it.
        while self.past.len() > 2 && now - self.past[1].0 >= WINDOW {
            self.past.remove(0);
        }
        let every = if self.terminal { REDRAW } else { LINE };
        if self.shown.is_some_and(|shown| now - shown < every) {
            return;
        }
        self.shown = Some(now);
        self.show(&self.line(done, links));
    }

    /// The transfer is over; `words` say how.
    pub(crate) fn end(&self, words: &str) {
        self.show(&format!("{:<16} {words}", self.title));
        if self.terminal {
            // Nobody can be told that standard error is gone.
            let _ = writeln!(stderr());
        }
    }

    fn show(&self, line: &str) {
        let _ = if self.terminal {
            // Carriage return, the line, and the rest of an older, longer one erased.
            write!(stderr(), "\r{line}\x1b[K").and_then(|()| stderr().flush())
        } else {
            writeln!(stderr(), "{line}")
        };
    }

    fn line(&self, done: u64, links: &[LinkState]) -> String {
        let share = done as f64 / self.size as f64;
        let filled = ((share * BAR as f64) as usize).min(BAR);
        let bar = format!("{}{}", "█".repeat(filled), "·".repeat(BAR - filled));
        let mut line = format!("{:<16} {bar} {:>3.0} %", self.title, share * 100.0);
        let (rate, link_rates) = self.rates();
        for (n, (link, rate)) in links.iter().zip(link_rates).enumerate() {
            let rate = if link.cut {
                "cut".to_owned()
            } else {
                text::rate(rate)
            };
            line += &format!("   link {n}: {rate:>11}");
        }
        let left = self.size.saturating_sub(done) as f64 * 8.0 / rate;
        // While nothing moves there is no telling.
        match left < 3600.0 {
            true => line += &format!("   {left:>4.1} s left"),
            false => line += "      ? s left",
        }
        line
    }

    /// Bits per second of the transfer and of each link, lately.
    fn rates(&self) -> (f64, Vec<f64>) {
        let (Some(old), Some(new)) = (self.past.first(), self.past.last()) else {
            return (0.0, Vec::new());
        };
        let seconds = (new.0 - old.0).as_secs_f64();
        let rate = |old: u64, new: u64| match seconds {
            0.0 => 0.0,
            _ => new.saturating_sub(old) as f64 * 8.0 / seconds,
        };
        let links = old.2.iter().zip(&new.2).map(|(old, new)| rate(*old, *new));
        (rate(old.1, new.1), links.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_rates_of_links_and_the_time_left() {
        let mut view = View::new("down".into(), 1000 << 20);
        let start = Instant::now();
        let links = |a, b, cut| {
            [
                LinkState {
                    bytes: a,
                    cut: false,
                },
                LinkState { bytes: b, cut },
            ]
        };
        view.update(start, 0, &links(0, 0, false));
        let second = start + Duration::from_secs(1);
        view.update(second, 250 << 20, &links(125_000_000, 0, true));
        let line = view.line(250 << 20, &links(125_000_000, 0, true));
        assert_eq!(
            line,
            "down             ██████··················  25 %   link 0: 1.00 Gbit/s   \
             link 1:         cut    3.0 s left"
        );
    }
}
