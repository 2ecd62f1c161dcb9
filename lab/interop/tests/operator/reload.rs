//! The file is read again.

use anabranch_interop::require;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::World;

const EACH: &str = "[policy]\nkind = \"one-each\"\n";
const NONE: &str = "[policy]\nkind = \"endpoints\"\n[policy.limits]\nsubflow = 0\n";

#[test]
fn subflows_follow_the_file_and_the_connection_lives() {
    if !require::lab() {
        return;
    }
    let mut world = World::new(EACH);
    world.await_links(&[0, 1]);
    let process = Pid::from_raw(world.pid().cast_signed());
    world.folder.write("paths.toml", NONE);
    kill(process, Signal::SIGHUP).unwrap();
    world.await_links(&[0]);
    world.carry();
    let file = world.folder.write("paths.toml", EACH);
    assert_eq!(world.printed("reload"), format!("{file}: one-each\n"));
    world.await_links(&[0, 1]);
    // A file that is wrong changes nothing: the command says so, and so does the signal.
    world
        .folder
        .write("paths.toml", "[policy]\nkind = \"none\"\n");
    let refused = world.run("reload");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains("paths.toml") && said.contains("kind"),
        "{said}"
    );
    kill(process, Signal::SIGHUP).unwrap();
    world.carry();
    world.await_links(&[0, 1]);
    world.finish();
}

#[test]
fn what_a_file_would_do_is_told_and_not_done() {
    if !require::lab() {
        return;
    }
    let mut world = World::new(EACH);
    world.await_links(&[0, 1]);
    let other = world.folder.write("other.toml", NONE);
    let would = world.printed(&format!("reload --dry-run {other}"));
    assert_eq!(would.lines().count(), 1, "{would}");
    assert!(would.contains(&format!("close {}", world.v4(1))), "{would}");
    let same = world.folder.write("same.toml", EACH);
    let would = world.printed(&format!("reload --dry-run {same}"));
    assert!(would.ends_with(": nothing\n"), "{would}");
    world.carry();
    world.await_links(&[0, 1]);
    let good = world.folder.write("good.toml", NONE);
    assert!(crate::world::printed(&["check", &good]).contains("good: endpoints"));
    world.finish();
}
