//! Whose fault it is when bytes differ and Linux is at both ends: what arrived is judged as it passes.

use anabranch_capture::record::Capture;
use anabranch_capture::{Judge, Opinion, StreamReport};
use anabranch_interop::topology::{Side, Topology};

use crate::traffic::Carried;

/// The first wrong byte was delivered where none had arrived, and all that did was right.
fn made_up(report: &StreamReport, first_wrong: Option<u64>) -> bool {
    let absent = |byte| report.missing.iter().any(|&(s, e)| (s..e).contains(&byte));
    report.wrong.is_empty() && first_wrong.is_some_and(absent)
}

/// All packets at the server, and at the client: each sees what it receives.
pub(crate) struct Evidence([Capture; 2]);

impl Evidence {
    pub(crate) fn collect(topology: &Topology) -> Evidence {
        let sides = [Side::Server, Side::Client];
        Evidence(sides.map(|side| {
            let capture = || Capture::start(Judge::new(Vec::new(), 0)).unwrap();
            topology.host(side).run(capture)
        }))
    }

    /// What Linux's receivers put together wrongly though all of it arrived under right mappings, or
    /// where nothing arrived under any: Linux 6.18 is known to, now and then, and it is not what these
    /// tests are for.
    ///
    /// # Panics
    /// If bytes differ for any other reason.
    pub(crate) fn judge(self, connections: &[[Carried; 2]]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (way, capture) in self.0.into_iter().enumerate() {
            let judge = capture.stop().unwrap().judge;
            let carried = connections.iter().map(|both| &both[way]);
            for carried in carried.filter(|it| !it.is_right()) {
                let report = judge.report(carried.pattern).expect("it was captured");
                let receivers = match report.opinion(carried.sent.bytes) {
                    Opinion::Receiver => true,
                    Opinion::Sender => false,
                    Opinion::Unknown => made_up(&report, carried.first_wrong),
                };
                assert!(receivers, "{carried:?}\n{report}");
                wrong.push(format!(
                    "{:?} of {}",
                    carried.first_wrong, carried.sent.bytes
                ));
            }
        }
        wrong
    }
}
