//! Schedulers, failover and coupled congestion control in virtual time: tables for the reader of a
//! change, in `docs/schedulers.md` and `docs/coupling.md`, and what must always hold.

mod budget;
mod coupling;
mod failover;
mod heterogeneous;
mod matrix;
mod setup;
mod steering;
mod sum;
mod swap;
mod town;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn the_tables_of_schedulers_are_as_reviewed() {
    reviewed(
        "schedulers.md",
        &[
            ("failover", failover::table()),
            ("heterogeneous", heterogeneous::table()),
            ("small-buffers", heterogeneous::small_buffers()),
            ("sum", sum::table()),
            ("matrix", matrix::table()),
        ],
    );
}

#[test]
fn the_tables_of_couplings_are_as_reviewed() {
    reviewed(
        "coupling.md",
        &[("goals", coupling::goals()), ("pareto", coupling::pareto())],
    );
}

/// Each table stands between the comments `<!-- NAME -->` and `<!-- /NAME -->` of the document.
fn reviewed(document: &str, tables: &[(&str, String)]) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(document);
    let before = std::fs::read_to_string(&file).expect("the document is there");
    let mut now = before.clone();
    for (name, table) in tables {
        let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
        let start = now.find(&open).expect(name) + open.len();
        let end = start + now[start..].find(&close).expect(name);
        now.replace_range(start..end, table);
    }
    if std::env::var_os("ANABRANCH_UPDATE").is_some() {
        return std::fs::write(&file, &now).expect("the document can be written");
    }
    let changed: Vec<_> = now
        .lines()
        .filter(|line| !before.lines().any(|it| it == *line))
        .collect();
    assert!(
        before == now,
        "figures are no longer what docs/{document} says. If that is meant, write it anew with\n\
         ANABRANCH_UPDATE=1 cargo test -p anabranch-sim --test scheduling\n\
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
