//! The same seed gives the same packets at the same times.

use crate::random::scene;
use std::collections::BTreeSet;

#[test]
fn a_seed_is_its_trace() {
    let mut traces = BTreeSet::new();
    for seed in 1000..1020 {
        let run = || {
            scene(seed)
                .run()
                .unwrap_or_else(|f| panic!("seed {seed}: {f}"))
        };
        let (first, second) = (run(), run());
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.elapsed, second.elapsed, "seed {seed}");
        traces.insert(first.trace);
    }
    assert_eq!(traces.len(), 20);
}
