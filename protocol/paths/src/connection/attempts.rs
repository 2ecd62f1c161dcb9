//! Attempts that failed, and how many more there may be.

use crate::{Loss, Retry, Time};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Pairs of addresses remembered that failed; beyond, the oldest is forgotten.
pub(super) const MAX_TROUBLES: usize = 128;

/// Attempts in a row at addresses that were announced and never reached. A peer may announce
/// what it likes, also what is not its own: it gets no flood of SYNs sent there.
const MAX_UNPROVEN: u32 = 32;

/// After those, one in so long.
const UNPROVEN_EACH: Duration = Duration::from_secs(1);

/// A pair of addresses that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trouble {
    pub(super) local: IpAddr,
    pub(super) remote: SocketAddr,
    pub(super) tries: u32,
    pub(super) again: Again,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Again {
    Now,
    At(Time),
    /// When no subflow is left.
    AtLast,
    Never,
    /// When an operator says so.
    ByHand,
}

impl Trouble {
    pub(super) fn is_between(&self, local: IpAddr, remote: SocketAddr) -> bool {
        (self.local, self.remote) == (local, remote)
    }

    pub(super) fn is_over(&self) -> bool {
        self.again == Again::Now
    }

    /// A subflow is up. Failures before it still count until it has lasted: who takes every join
    /// and resets it at once is not asked without end.
    pub(super) fn succeeded(&mut self) {
        if self.again != Again::ByHand {
            self.again = Again::Now;
        }
    }

    /// Another attempt failed.
    pub(super) fn failed(&mut self, now: Time, loss: Loss, retry: &Retry) {
        self.tries += 1;
        self.again = match loss {
            _ if self.again == Again::ByHand => Again::ByHand,
            Loss::Forbidden => Again::Never,
            Loss::Lasting | Loss::Reset => Again::AtLast,
            Loss::Passing if self.tries >= retry.tries => Again::AtLast,
            Loss::Passing => Again::At(now + pause(retry, self.tries)),
        };
    }

    /// No subflow is left: what was given up is tried once more, and again while the connection
    /// waits.
    pub(super) fn last_resort(&mut self, now: Time, retry: &Retry) {
        if self.again == Again::AtLast {
            self.again = Again::At(now + pause(retry, self.tries.min(retry.tries)));
        }
    }
}

/// How long to wait after so many attempts.
fn pause(retry: &Retry, tries: u32) -> Duration {
    let doubled = 1 << tries.saturating_sub(1).min(16);
    (retry.first * doubled).min(retry.max)
}

/// How often addresses that were never reached may be tried.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Attempts {
    spent: u32,
    /// Since when nothing was given back.
    since: Time,
    /// An attempt waits for this.
    pub(super) blocked: Option<Time>,
}

impl Attempts {
    /// Whether there may be one more now.
    pub(super) fn spend(&mut self, now: Time) -> bool {
        let back = now.saturating_sub(self.since).as_nanos() / UNPROVEN_EACH.as_nanos();
        if back > 0 {
            let back = u32::try_from(back).unwrap_or(u32::MAX);
            self.spent = self.spent.saturating_sub(back);
            self.since = now;
        }
        let may = self.spent < MAX_UNPROVEN;
        self.spent += u32::from(may);
        self.blocked = (!may).then_some(self.since + UNPROVEN_EACH);
        may
    }
}
