//! The units of systemd, as systemd reads them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// What `systemd-analyze security` may find at most: 0 is a service that can do nothing, 100 one that
/// nothing keeps from anything.
const EXPOSURE: &str = "30";

/// The unit with the program of this build; gone with the test.
struct Unit(PathBuf);

impl Unit {
    fn new(name: &str) -> Unit {
        let source = format!("{}/systemd/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(source).unwrap();
        let program = env!("CARGO_BIN_EXE_anabranch");
        let folder = std::env::temp_dir().join(format!("anabranch-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, text.replace("/usr/bin/anabranch", program)).unwrap();
        Unit(path)
    }

    /// What systemd says of it; `None` where there is no systemd.
    fn analyze(&self, words: &[&str]) -> Option<Output> {
        let mut command = Command::new("systemd-analyze");
        let output = command.args(words).arg(&self.0).output();
        output.map_err(|error| eprintln!("skipped: {error}")).ok()
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if let Some(folder) = self.0.parent() {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

#[test]
fn systemd_has_nothing_to_complain_of() {
    for name in ["anabranch-serve.service", "anabranch-pm.service"] {
        let unit = Unit::new(name);
        for words in [
            &["verify", "--man=no"][..],
            &[
                "security",
                "--offline=yes",
                "--no-pager",
                "--threshold",
                EXPOSURE,
            ],
        ] {
            let Some(output) = unit.analyze(words) else {
                return;
            };
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {words:?}: {said}");
            assert!(!said.contains(name), "{said}");
        }
    }
}
