//! Wrong use: one line, and an exit code.

use anabranch_interop::require;

use crate::world::{World, anabranch};

/// Standard error, one line of it.
fn refused(world: &World, words: &str, code: i32) -> String {
    let output = world.run(words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{words}: {said}");
    assert_eq!(said.lines().count(), 1, "{words}: {said}");
    assert!(output.stdout.is_empty(), "{words}");
    said
}

#[test]
fn each_has_one_line_and_its_exit_code() {
    if !require::lab() {
        return;
    }
    let world = World::new("[policy]\nkind = \"endpoints\"\n");
    // What the command line alone shows to be wrong has code 2, what the engine refuses 1.
    for (words, code, line) in [
        ("endpoint add", 2, "expected ADDR"),
        ("endpoint add link1", 2, "endpoint add link1"),
        ("endpoint add 10.77.1.1 sub", 2, "sub: expected"),
        (
            "endpoint add 10.77.1.1 port 80 subflow",
            1,
            "a port goes with",
        ),
        (
            "endpoint add 127.0.0.1 signal",
            1,
            "no packet from another host",
        ),
        (
            "endpoint add 10.77.1.1 signal fullmesh",
            1,
            "exclude each other",
        ),
        ("endpoint change backup", 2, "which?"),
        ("endpoint change id 5 backup", 1, "no such endpoint"),
        ("endpoint delete", 2, "expected id ID"),
        ("endpoint delete id 5", 1, "no such endpoint"),
        ("endpoint show id 5", 1, "no such endpoint"),
        ("endpoint flush all", 2, "all: nothing was expected"),
        ("limits set", 2, "expected subflows NUMBER"),
        ("limits set subflows 99", 1, "expected 0 to"),
        ("limits set subflows many", 2, "subflows many"),
        (
            "subflow add local 10.77.1.1 remote 10.77.0.2:1",
            2,
            "which connection",
        ),
        (
            "subflow prio token 1 local 10.77.1.1:1 remote 10.77.0.2:1",
            2,
            "backup or nobackup",
        ),
        (
            "subflow remove token ffffffff local 10.77.1.1:1 remote 10.77.0.2:1",
            1,
            "ffffffff",
        ),
        ("reload --dry-run /nonexistent.toml", 1, "/nonexistent.toml"),
    ] {
        let said = refused(&world, words, code);
        assert!(said.contains(line), "{words}: {said}");
    }
    world.await_links(&[0]);
    world.finish();
}

#[test]
fn nobody_who_answers_is_said_in_one_line() {
    for words in [
        &["endpoint", "show"][..],
        &["limits", "show"],
        &["monitor"],
        &["reload"],
        &[
            "subflow",
            "remove",
            "token",
            "1",
            "local",
            "192.0.2.1:1",
            "remote",
            "192.0.2.2:1",
        ],
    ] {
        let output = anabranch(&[words, &["--control", "/nonexistent.sock"]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
        assert!(said.contains("/nonexistent.sock"), "{words:?}: {said}");
    }
}
