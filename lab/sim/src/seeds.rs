//! Many seeds, and one again.
//!
//! `ANABRANCH_SEED=n` runs seed `n` only; `ANABRANCH_SEEDS=n` runs `n` seeds instead of the usual
//! number.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// More failing seeds than these are not looked for.
const ENOUGH: usize = 5;

/// Runs `scene` with seeds 0, 1, 2 ...
///
/// # Panics
/// If any fails, naming the seeds. A seed that fails is one that panics or returns an error.
pub fn each<E: std::fmt::Display>(usual: u64, mut scene: impl FnMut(u64) -> Result<(), E>) {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seeds = match number("ANABRANCH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ANABRANCH_SEEDS").unwrap_or(usual),
    };
    let mut failed = Vec::new();
    for seed in seeds {
        match catch_unwind(AssertUnwindSafe(|| scene(seed))) {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => eprintln!("seed {seed}: {error}"),
            Err(_) => eprintln!("seed {seed}: panicked, see above"),
        }
        failed.push(seed);
        if failed.len() == ENOUGH {
            break;
        }
    }
    assert!(
        failed.is_empty(),
        "failed with seeds {failed:?}: run one again with ANABRANCH_SEED={}",
        failed[0]
    );
}
