//! Proportional rate reduction (RFC 9937, formerly RFC 6937): how much to send during recovery.

/// One recovery's accounts, bytes.
#[derive(Debug, Default)]
pub(crate) struct Prr {
    delivered: u64,
    out: u64,
    /// In the network when recovery began (RecoverFS).
    recover_fs: u64,
    cwnd: u64,
}

crate::packed!(Prr {
    delivered,
    out,
    recover_fs,
    cwnd
});

impl Prr {
    /// `recover_fs`: what was in the network when recovery began, bytes, lost or not: what had
    /// been sacked before will not be delivered any more.
    pub(crate) fn start(recover_fs: u64, pipe: u64) -> Prr {
        Prr {
            delivered: 0,
            out: 0,
            recover_fs: recover_fs.max(1),
            cwnd: pipe,
        }
    }

    /// What the acknowledgement that began recovery delivered was in the network too.
    pub(crate) fn includes(&mut self, delivered: u64) {
        self.recover_fs += delivered;
    }

    /// Bytes were sent during recovery.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.out += bytes;
    }

    /// An acknowledgement came during recovery. `safe`: it acknowledged something and showed no
    /// new loss, so the slow start bound is used rather than the conservative one. Either lets
    /// out at least what was delivered, so that a reduction never goes on below `ssthresh`.
    pub(crate) fn on_ack(
        &mut self,
        delivered: u64,
        pipe: u64,
        ssthresh: u64,
        mss: u32,
        safe: bool,
    ) {
        self.delivered += delivered;
        let send = if pipe > ssthresh {
            let due = u128::from(self.delivered) * u128::from(ssthresh);
            let due = due.div_ceil(u128::from(self.recover_fs)) as u64;
            due.saturating_sub(self.out)
        } else {
            let owed = self.delivered.saturating_sub(self.out).max(delivered);
            let more = if safe { u64::from(mss) } else { 0 };
            (owed + more).min(ssthresh - pipe)
        };
        self.cwnd = pipe + send;
    }

    pub(crate) fn cwnd(&self) -> u64 {
        self.cwnd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_ssthresh_each_delivery_lets_as_much_out() {
        // The first retransmission left for nothing delivered: it is not held against the next.
        let mut prr = Prr::start(10, 3);
        prr.sent(1);
        prr.on_ack(1, 3, 7, 1, false);
        assert_eq!(prr.cwnd(), 4);
    }

    #[test]
    fn sends_in_proportion_then_no_more_than_ssthresh() {
        // 20 segments outstanding, one lost, ssthresh half: RFC 6937 §4.
        let mut prr = Prr::start(20, 19);
        let (mut pipe, mut sent) = (19, 0);
        for _ in 0..19 {
            pipe -= 1;
            prr.on_ack(1, pipe, 10, 1, false);
            while pipe < prr.cwnd() {
                pipe += 1;
                sent += 1;
                prr.sent(1);
            }
        }
        assert_eq!((sent, pipe), (10, 10));
    }
}
