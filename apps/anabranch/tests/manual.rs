//! Manual pages and completions, as they come from the program.

use std::fs;
use std::process::Command;

fn anabranch(arguments: &[&str]) -> std::process::Output {
    let program = env!("CARGO_BIN_EXE_anabranch");
    Command::new(program).args(arguments).output().unwrap()
}

#[test]
fn every_command_has_a_manual_page_that_renders() {
    let dir = std::env::temp_dir().join(format!("anabranch-man-{}", std::process::id()));
    let made = anabranch(&["man", dir.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    for name in [
        "",
        "-serve",
        "-connect",
        "-endpoint",
        "-endpoint-add",
        "-monitor",
        "-pm",
        "-check",
    ] {
        let page = dir.join(format!("anabranch{name}.1"));
        let text = fs::read_to_string(&page).unwrap();
        assert!(
            text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"),
            "{text}"
        );
        // Where man is there, it has nothing to complain of.
        let shown = Command::new("man")
            .args(["--warnings", "-l"])
            .arg(&page)
            .output();
        if let Ok(shown) = shown.map_err(|_| eprintln!("skipped in part: no man")) {
            let complaints = String::from_utf8_lossy(&shown.stderr);
            assert!(
                shown.status.success() && complaints.is_empty(),
                "{complaints}"
            );
        }
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn shells_are_told_of_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let printed = anabranch(&["completions", shell]);
        let text = String::from_utf8(printed.stdout).unwrap();
        for word in ["serve", "endpoint", "subflow", "monitor", "--announce"] {
            let word = word.trim_start_matches(if shell == "fish" { "--" } else { "" });
            assert!(text.contains(word), "{shell}: {word}");
        }
    }
    let script = anabranch(&["completions", "bash"]).stdout;
    let file = std::env::temp_dir().join(format!("anabranch-completions-{}", std::process::id()));
    fs::write(&file, script).unwrap();
    let read = Command::new("bash").arg("-n").arg(&file).output().unwrap();
    assert!(read.status.success(), "{read:?}");
    fs::remove_file(file).unwrap();
}
