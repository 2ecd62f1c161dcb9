//! Lowest round-trip time first.

use super::{Decision, Purpose, Scheduler, View};

/// The subflow with the lowest smoothed round-trip time that has room; one that was not measured
/// yet comes last, and one that would use up the peer's window for the fastest is left out.
#[derive(Clone, Copy, Debug)]
pub struct MinRtt;

impl Scheduler for MinRtt {
    fn name(&self) -> &'static str {
        "minrtt"
    }

    fn pick(&mut self, view: &View<'_>) -> Decision {
        let (Some(fast), Some(best)) = (view.fastest(), view.fastest_with_room()) else {
            return Decision::Wait("no path has room");
        };
        if view.purpose == Purpose::New && view.would_block(fast, best) {
            return Decision::Wait("a slower path would use up the window");
        }
        Decision::Send(best.id, "lowest round-trip time with room")
    }
}

#[cfg(test)]
mod tests {
    use super::super::Candidate;
    use super::*;
    use crate::config::{Path, SubflowId};
    use crate::send::Run;
    use anabranch_tcp::Instant;
    use std::collections::VecDeque;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    /// 10 Mbit/s at this round-trip time, with this much room.
    fn path(id: u32, srtt_ms: u32, room: u64) -> Candidate {
        Candidate {
            id: SubflowId(id),
            path: Path::nowhere(),
            srtt: Some(srtt_ms * MS),
            rttvar: MS,
            rto: 200 * MS,
            room,
            cwnd: 1_250 * u64::from(srtt_ms),
            in_flight: 10_000,
            queued: 10_000,
            rate: Some(1_250_000),
            sent: 1 << 20,
            lost: 0,
            mss: 1000,
            backup: false,
        }
    }

    fn pick(candidates: &[Candidate], window: u64) -> Decision {
        MinRtt.pick(&View {
            now: Instant(0),
            candidates,
            queued: 1 << 20,
            window: window - 20_000,
            unacked: 20_000,
            assigned: 1 << 20,
            blocked: 0,
            purpose: Purpose::New,
            runs: &VecDeque::<Run>::new(),
        })
    }

    #[test]
    fn the_fastest_with_room_is_taken() {
        let paths = [path(0, 20, 5000), path(1, 10, 5000)];
        assert!(matches!(pick(&paths, 1 << 20), Decision::Send(id, _) if id == SubflowId(1)));
        let full = [path(0, 20, 5000), path(1, 10, 0)];
        assert!(matches!(pick(&full, 1 << 20), Decision::Send(id, _) if id == SubflowId(0)));
    }

    #[test]
    fn a_slow_one_is_left_out_where_it_would_use_up_the_window() {
        // In 100 ms there and 10 ms back, by halves, the fast one sends 70 KB.
        let paths = [path(0, 10, 0), path(1, 100, 5000)];
        assert!(matches!(pick(&paths, 64 << 10), Decision::Wait(_)));
        assert!(matches!(pick(&paths, 128 << 10), Decision::Send(..)));
        let idle = [
            Candidate {
                queued: 0,
                ..paths[0]
            },
            paths[1],
        ];
        assert!(
            matches!(pick(&idle, 64 << 10), Decision::Send(..)),
            "nothing to wait for"
        );
    }

    #[test]
    fn a_new_path_is_slow_until_something_came_back() {
        let new = |queued| Candidate {
            queued,
            sent: queued,
            ..path(1, 10, 5000)
        };
        let paths = |queued| [path(0, 12, 5000), new(queued)];
        assert!(matches!(pick(&paths(0), 1 << 20), Decision::Send(id, _) if id == SubflowId(1)));
        assert!(matches!(pick(&paths(2000), 1 << 20), Decision::Send(id, _) if id == SubflowId(0)));
    }
}
