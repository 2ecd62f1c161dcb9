//! A decision of a scheduler, as it goes over the control socket, and in words.

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::net::SocketAddr;

/// What was decided, and what was known then. Times are microseconds, sizes bytes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// Counts from 1; some in between may be missing, where waiting went on.
    pub number: u64,
    /// Since when it has been so, microseconds ago.
    pub ago_us: u64,
    /// Whose it was.
    pub scheduler: String,
    /// `new`, `again` (a path that has it may not deliver it), `copy` (wanted twice) or `steer`
    /// (nothing is sent: the peer is told something about a path).
    pub purpose: String,
    /// Position of the first byte in the stream.
    pub start: u64,
    /// How many; 0: nothing could be sent.
    pub bytes: u64,
    /// The path that took them; absent: nothing could be sent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<u32>,
    /// Why.
    pub why: String,
    /// How often in a row it was so.
    pub times: u32,
    /// Bytes that waited to be sent.
    pub queued: u64,
    /// Bytes that the peer's window had left.
    pub window: u64,
    /// The paths there were.
    pub paths: Vec<Choice>,
}

/// A path that could be chosen.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// Which.
    pub path: u32,
    /// Our address, unless it is gone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub local: Option<SocketAddr>,
    /// The peer's address, unless it is gone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peer: Option<SocketAddr>,
    /// A backup.
    pub backup: bool,
    /// Smoothed round-trip time and its variation.
    pub srtt_us: Option<u64>,
    /// See `srtt_us`.
    pub rttvar_us: u64,
    /// Bytes that could leave at once.
    pub room: u64,
    /// Congestion window.
    pub cwnd: u64,
    /// Bytes given to it and not acknowledged.
    pub queued: u64,
    /// Bytes a second.
    pub rate: Option<u64>,
    /// When it would have been there that way.
    pub arrival_us: Option<u64>,
}

impl Decision {
    /// A few lines for people.
    pub fn words(&self) -> String {
        let mut text = format!("{:>9} ago  {}: ", time(self.ago_us), self.scheduler);
        let what = match self.purpose.as_str() {
            "again" => "sent again",
            "copy" => "sent twice",
            _ => "sent",
        };
        let _ = match self.path {
            Some(path) if self.purpose == "steer" => {
                write!(text, "the peer is told of path {path}: {}", self.why)
            }
            Some(path) => write!(
                text,
                "{} bytes from {} {what} on path {path}: {}",
                self.bytes, self.start, self.why
            ),
            None => write!(text, "{} bytes wait: {}", self.queued, self.why),
        };
        if self.times > 1 {
            let _ = write!(text, " ({} times)", self.times);
        }
        text.push('\n');
        for choice in &self.paths {
            let _ = writeln!(text, "               {}", choice.words(self.path));
        }
        text
    }
}

impl Choice {
    fn words(&self, chosen: Option<u32>) -> String {
        let mark = if chosen == Some(self.path) { '*' } else { ' ' };
        let mut text = format!("{mark} path {}", self.path);
        if let (Some(local), Some(peer)) = (self.local, self.peer) {
            let _ = write!(text, " {} -> {}", local.ip(), peer.ip());
        }
        let _ = match self.arrival_us {
            Some(us) => write!(text, ": there in {}", time(us)),
            None => write!(text, ": not measured yet"),
        };
        if let Some(srtt) = self.srtt_us {
            let _ = write!(text, " (rtt {} ± {}", time(srtt), time(self.rttvar_us));
            let _ = write!(text, ", {} of {} bytes under way", self.queued, self.cwnd);
            let _ = match self.room {
                0 => write!(text, ", full)"),
                room => write!(text, ", room for {room})"),
            };
        }
        if self.backup {
            text.push_str(", backup");
        }
        text
    }
}

fn time(us: u64) -> String {
    match us {
        0..1000 => format!("{us} us"),
        1000..1_000_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_in_words_says_what_others_would_have_cost() {
        let choice = |path, arrival_us, room| Choice {
            path,
            local: Some("10.0.0.1:443".parse().unwrap()),
            peer: Some("10.0.0.2:40000".parse().unwrap()),
            backup: false,
            srtt_us: Some(20_000),
            rttvar_us: 500,
            room,
            cwnd: 14_480,
            queued: 2896,
            rate: Some(1_000_000),
            arrival_us: Some(arrival_us),
        };
        let decision = Decision {
            number: 7,
            ago_us: 1_500_000,
            scheduler: "minrtt".into(),
            purpose: "new".into(),
            start: 1000,
            bytes: 2896,
            path: Some(1),
            why: "lowest round-trip time with room".into(),
            times: 1,
            queued: 5000,
            window: 65_536,
            paths: vec![choice(0, 35_000, 0), choice(1, 12_300, 8000)],
        };
        let words = decision.words();
        let lines: Vec<_> = words.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "1.5 s ago  minrtt: 2896 bytes from 1000 sent on path 1: lowest round-trip time \
                 with room",
                "path 0 10.0.0.1 -> 10.0.0.2: there in 35.0 ms (rtt 20.0 ms ± 500 us, 2896 of \
                 14480 bytes under way, full)",
                "* path 1 10.0.0.1 -> 10.0.0.2: there in 12.3 ms (rtt 20.0 ms ± 500 us, 2896 of \
                 14480 bytes under way, room for 8000)",
            ]
        );
    }
}
