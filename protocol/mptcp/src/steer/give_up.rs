//! Which subflow the peer is told to give up.

use super::GiveUp;
use std::net::IpAddr;
use std::time::Duration;

/// After one was given up, no other is before so long; twice as long after each further one.
const PAUSE: Duration = Duration::from_secs(10);
/// Nor is the pause ever longer.
const LONGEST: Duration = Duration::from_secs(640);

/// How a subflow is bound to an address of ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// The ID the peer knows it by.
    pub(crate) id: u8,
    /// Our address.
    pub(crate) addr: IpAddr,
    /// The peer was told of it (ADD_ADDR).
    pub(crate) announced: bool,
}

/// Whether REMOVE_ADDR of this one's ID would take it alone, and safely. An ID other than 0 that was
/// never announced is none to remove: Linux counts addresses that it took, and warns in its log where
/// one goes that it never counted.
pub(crate) fn may_give_up(which: GiveUp, this: &Bound, others: &[Bound]) -> bool {
    let known = this.id == 0 || this.announced;
    let alone = others.iter().all(|it| it.id != this.id);
    let returns = others.iter().all(|it| it.addr != this.addr);
    known
        && alone
        && match which {
            GiveUp::Never => false,
            GiveUp::Returnable => returns,
            GiveUp::Always => true,
        }
}

/// How long no further one is given up after `count` were.
pub(crate) fn pause(count: u8) -> Duration {
    (PAUSE * (1 << u32::from(count.saturating_sub(1)).min(6))).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(id: u8, addr: u8, announced: bool) -> Bound {
        Bound {
            id,
            addr: IpAddr::from([192, 0, 2, addr]),
            announced,
        }
    }

    #[test]
    fn only_what_goes_alone_and_what_comes_back() {
        let (first, second) = (bound(0, 1, false), bound(2, 2, true));
        let (shared, apart) = (bound(0, 1, false), bound(255, 1, false));
        let cases = [
            (
                "the initial address, the other path has its own",
                first,
                second,
                true,
                true,
            ),
            ("the announced one", second, first, true, true),
            (
                "both go to one address, with one ID",
                first,
                shared,
                false,
                false,
            ),
            (
                "both go to one address, with two",
                first,
                apart,
                false,
                true,
            ),
            ("the other of these two", apart, first, false, false),
        ];
        for (what, this, other, returnable, always) in cases {
            let may = |which| may_give_up(which, &this, &[other]);
            assert!(!may(GiveUp::Never), "{what}");
            assert_eq!(may(GiveUp::Returnable), returnable, "{what}");
            assert_eq!(may(GiveUp::Always), always, "{what}");
        }
    }

    #[test]
    fn the_pause_doubles() {
        let seconds = [0, 1, 2, 3, 7, 8, 255].map(|n| pause(n).as_secs());
        assert_eq!(seconds, [10, 10, 20, 40, 640, 640, 640]);
    }
}
