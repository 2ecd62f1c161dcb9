//! What of a path's capacity becomes payload, as a table for the reader of a change:
//! `docs/goodput.md`. Time is virtual, so it is the same at every run.

mod fairness;
mod matrix;
mod multipath;
mod path;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const PREFACE: &str = "# Goodput in virtual time

Written by a test, `cargo test -p anabranch-sim --test goodput`, which fails when a figure changes:
a change of behaviour shows in the diff of this file. To accept it:

```sh
ANABRANCH_UPDATE=1 cargo test -p anabranch-sim --test goodput
```

Two hosts of `lab/sim` (our stack at both ends, offload on), MTU 1500. Figures are payload delivered
from the first SYN on, as a percentage of what could be: the link's rate times 1448/1500 (payload
of a full packet), or what else bounds it. Queues drop at their tail; loss and reordering befall
what goes to the receiver only.
";

#[test]
fn goodput_is_as_reviewed() {
    let mut document = PREFACE.to_owned();
    for section in [
        matrix::paths(),
        matrix::controllers(),
        multipath::paths(),
        fairness::pairs(),
    ] {
        write!(document, "\n{section}").expect("a string takes anything");
    }
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/goodput.md");
    if std::env::var_os("ANABRANCH_UPDATE").is_some() {
        std::fs::write(&file, &document).expect("docs/goodput.md can be written");
        return;
    }
    let reviewed = std::fs::read_to_string(&file).unwrap_or_default();
    let changed: Vec<_> = document
        .lines()
        .filter(|line| !reviewed.lines().any(|it| it == *line))
        .collect();
    assert!(
        reviewed == document,
        "goodput is no longer what docs/goodput.md says. If that is meant, write it anew with\n\
         ANABRANCH_UPDATE=1 cargo test -p anabranch-sim --test goodput\n\
         and look at the difference. Now:\n{}",
        changed.join("\n")
    );
}

/// `f` of each of `items`, in their order, on all cores.
fn parallel<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(n) else { return };
            let result = f(item);
            done.lock().expect("no other panicked").push((n, result));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().expect("no other panicked");
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Percent of `limit`, without decimals.
fn percent(value: f64, limit: f64) -> String {
    format!("{:.0}", 100.0 * value / limit)
}
