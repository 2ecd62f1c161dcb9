//! `anabranch monitor` as somebody watches it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::eventually::PATIENCE;
use crate::server::program;

/// How long what it prints is waited for before something is done once more.
const TURN: Duration = Duration::from_secs(1);

/// A running `anabranch monitor`; dropping it ends it.
#[derive(Debug)]
pub struct Watcher {
    child: Child,
    printed: PathBuf,
}

impl Watcher {
    /// Starts it with further arguments for whoever answers at `control`; `printed` is the file that
    /// it writes to.
    pub fn start(control: &Path, printed: PathBuf, further: &[&str]) -> io::Result<Self> {
        let mut command = Command::new(program()?);
        command
            .arg("monitor")
            .args(further)
            .arg("--control")
            .arg(control)
            .stdout(File::create(&printed)?)
            .stderr(Stdio::null());
        let child = command.spawn()?;
        Ok(Self { child, printed })
    }

    /// All that it prints, once that is `enough`. What `happens` does happens again from time to time
    /// until then: nothing says when the first of it would be told.
    ///
    /// # Panics
    /// If it is not within [`PATIENCE`].
    pub fn watch(&self, mut happens: impl FnMut(), enough: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            happens();
            let turn = Instant::now() + TURN;
            while Instant::now() < turn {
                let printed = self.printed();
                // Whole lines.
                if printed.ends_with('\n') && enough(&printed) {
                    return printed;
                }
                thread::sleep(Duration::from_millis(10));
            }
            let printed = self.printed();
            assert!(Instant::now() < deadline, "never enough:\n{printed}");
        }
    }

    fn printed(&self) -> String {
        std::fs::read_to_string(&self.printed).unwrap_or_default()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It ends by itself when who answers does.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
