//! The middlebox zoo: what becomes of a connection behind each box, held against what the RFCs ask
//! for, and a table of it for people: `docs/middleboxes.md`.

mod case;
mod cases;
mod cell;
mod table;

use case::Case;
use cell::{Cell, Result};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn every_box_has_the_outcome_that_the_rfcs_ask_for() {
    let wanted = std::env::var("ANABRANCH_BOX").unwrap_or_default();
    let mut cases = cases::all();
    cases.retain(|case| case.name.contains(&wanted));
    let runs: Vec<(usize, Cell)> = (0..cases.len())
        .flat_map(|n| cases[n].cells().into_iter().map(move |cell| (n, cell)))
        .collect();
    let results = parallel(&runs, |(n, cell)| check(&cases[*n], cell));
    let wrong: Vec<_> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    let shown: Vec<_> = wrong.iter().take(40).map(|s| s.as_str()).collect();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        runs.len(),
        shown.join("\n")
    );
    let mut rows: Vec<(&Case, Vec<(Cell, Result)>)> =
        cases.iter().map(|case| (case, Vec::new())).collect();
    for ((n, cell), result) in runs.into_iter().zip(results) {
        rows[n].1.extend(result.ok().map(|result| (cell, result)));
    }
    if wanted.is_empty() {
        table::compare(&rows);
    }
}

/// One run, and what is not as it should be.
fn check(case: &Case, cell: &Cell) -> std::result::Result<Result, String> {
    let (name, expected) = (case.name, (case.expect)(cell));
    match cell.run(case) {
        Err(error) => Err(format!("{name}, {cell:?}: {error}")),
        Ok(r) if r.outcome != expected => Err(format!(
            "{name}, {cell:?}: {:?}, not {expected:?}",
            r.outcome
        )),
        Ok(r) if r.elapsed > Duration::from_secs(case.within) => {
            Err(format!("{name}, {cell:?}: took {:?}", r.elapsed))
        }
        Ok(r) => Ok(r),
    }
}

/// `f` of each of `items`, in their order, on all cores.
fn parallel<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        while let Some((n, item)) = {
            let n = next.fetch_add(1, Ordering::Relaxed);
            items.get(n).map(|item| (n, item))
        } {
            let result = f(item);
            done.lock().expect("no other panicked").push((n, result));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    let mut done = done.into_inner().expect("no other panicked");
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, result)| result).collect()
}
