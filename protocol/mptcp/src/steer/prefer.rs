//! Which subflows the peer should leave alone.

use crate::config::SubflowId;
use crate::schedule::Why;
use std::time::Duration;

/// A difference that nobody notices.
const LEAST: Duration = Duration::from_millis(10);

/// A subflow as it is now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) id: SubflowId,
    /// Round-trip time without what delayed acknowledgements add.
    pub(crate) rtt: Option<Duration>,
    /// Nothing speaks against it.
    pub(crate) alive: bool,
    /// Either side made it a backup for other reasons.
    pub(crate) backup: bool,
    /// The peer was told to leave it alone.
    pub(crate) avoided: bool,
    /// The peer was told so or the contrary just now.
    pub(crate) settling: bool,
}

/// The next thing to tell the peer, if there is one: which subflow it should avoid (`true`) or not.
/// `slower` is how many percent of the best round trip make one slow, half of what is beyond 100 keeps
/// it so; 0: none is.
pub(crate) fn prefer(slower: u32, thin: bool, ways: &[Way]) -> Option<(SubflowId, bool, Why)> {
    let best = ways
        .iter()
        .filter(|way| way.alive && !way.backup)
        .filter_map(|way| way.rtt)
        .min();
    ways.iter().find_map(|way| {
        let why = reason(slower, thin, best, way);
        match (why, way.avoided) {
            (None, true) => Some((way.id, false, "it is needed again")),
            (Some(why), false) if !way.settling => Some((way.id, true, why)),
            _ => None,
        }
    })
}

/// Why a subflow should be avoided, if it should.
fn reason(slower: u32, thin: bool, best: Option<Duration>, way: &Way) -> Option<Why> {
    if slower == 0 || !thin || way.backup || !way.alive {
        return None;
    }
    let (rtt, best) = (way.rtt?, best?);
    let percent = match way.avoided {
        true => 100 + slower.saturating_sub(100) / 2,
        false => slower,
    };
    let slow = rtt >= best * percent / 100 && rtt - best >= LEAST;
    slow.then_some("the peer sends little, and this path is much slower")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it is, whether the peer sends little, the subflows, and what it is told.
    type Case<'a> = (&'a str, bool, &'a [Way], Option<(u32, bool)>);

    fn way(id: u32, ms: u64) -> Way {
        Way {
            id: SubflowId(id),
            rtt: Some(Duration::from_millis(ms)),
            alive: true,
            backup: false,
            avoided: false,
            settling: false,
        }
    }

    fn told(slower: u32, thin: bool, ways: &[Way]) -> Option<(u32, bool)> {
        prefer(slower, thin, ways).map(|(id, avoid, _)| (id.0, avoid))
    }

    #[test]
    fn events_and_what_the_peer_is_told() {
        let avoided = |way: Way| Way {
            avoided: true,
            ..way
        };
        let dead = |way: Way| Way {
            alive: false,
            ..way
        };
        let backup = |way: Way| Way {
            backup: true,
            ..way
        };
        let settling = |way: Way| Way {
            settling: true,
            ..way
        };
        let unknown = |way: Way| Way { rtt: None, ..way };
        let cases: &[Case<'_>] = &[
            ("alone", true, &[way(0, 120)], None),
            ("alike", true, &[way(0, 20), way(1, 30)], None),
            (
                "much slower",
                true,
                &[way(0, 20), way(1, 120)],
                Some((1, true)),
            ),
            (
                "the initial one",
                true,
                &[way(0, 120), way(1, 20)],
                Some((0, true)),
            ),
            ("too little of it", true, &[way(0, 1), way(1, 9)], None),
            ("in bulk", false, &[way(0, 20), way(1, 120)], None),
            (
                "told already",
                true,
                &[way(0, 20), avoided(way(1, 120))],
                None,
            ),
            (
                "bulk begins",
                false,
                &[way(0, 20), avoided(way(1, 120))],
                Some((1, false)),
            ),
            (
                "the best one dies",
                true,
                &[dead(way(0, 20)), avoided(way(1, 120))],
                Some((1, false)),
            ),
            (
                "nearer, not near",
                true,
                &[way(0, 20), avoided(way(1, 32))],
                None,
            ),
            (
                "near",
                true,
                &[way(0, 20), avoided(way(1, 29))],
                Some((1, false)),
            ),
            (
                "a backup anyway",
                true,
                &[way(0, 20), backup(way(1, 120))],
                None,
            ),
            (
                "faster, but a backup",
                true,
                &[backup(way(0, 20)), way(1, 120)],
                None,
            ),
            (
                "just told",
                true,
                &[way(0, 20), settling(way(1, 120))],
                None,
            ),
            (
                "not measured",
                true,
                &[way(0, 20), unknown(way(1, 120))],
                None,
            ),
            (
                "a third",
                true,
                &[way(0, 20), avoided(way(1, 120)), way(2, 90)],
                Some((2, true)),
            ),
        ];
        for (what, thin, ways, expected) in cases {
            assert_eq!(told(200, *thin, ways), *expected, "{what}");
        }
        assert_eq!(
            told(0, true, &[way(0, 20), way(1, 120)]),
            None,
            "switched off"
        );
        assert_eq!(
            told(0, true, &[way(0, 20), avoided(way(1, 120))]),
            Some((1, false))
        );
    }
}
