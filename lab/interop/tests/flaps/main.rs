//! Links that come and go at random under traffic, in namespaces: under our own stack, under Linux's
//! with `anabranch pm`, and, to compare, under Linux's alone.
//!
//! A few dozen flaps each, or as many as `ANABRANCH_FLAPS` says, by the seed `ANABRANCH_SEED`. What is
//! found goes to standard output (`-- --nocapture`): how long after a path came back it carried
//! something again, by the kind of trouble, as rows for `docs/path-managers.md`.

mod engine;
mod evidence;
mod ledger;
mod report;
mod run;
mod traffic;
mod trouble;
mod view;
mod world;

use anabranch_interop::require;
use anabranch_interop::scene::alone;
use engine::Engine;

fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |text| text.parse().expect(name))
}

fn flaps(engine: Engine, otherwise: u64) {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let (flaps, seed) = (
        number("ANABRANCH_FLAPS", otherwise),
        number("ANABRANCH_SEED", 1),
    );
    let found = run::run(engine, flaps as usize, seed);
    println!("{engine:?}, seed {seed}: {found}");
    assert_eq!(found.left, Vec::<String>::new());
}

#[test]
fn our_own_stack_joins_every_path_that_is_back() {
    flaps(Engine::OurStack, 60);
}

#[test]
fn pm_has_linux_join_every_path_that_is_back() {
    flaps(Engine::Pm, 60);
}

#[test]
fn endpoints_kept_by_pm_join_every_path_that_is_back() {
    flaps(Engine::PmByEndpoints, 20);
}

#[test]
fn linux_alone_delivers_the_bytes() {
    flaps(Engine::Kernel, 20);
}
