//! `anabranch serve` and `anabranch pm` as an operator runs them: a process.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::Host;

/// How long the program may take to serve, or to end.
const START: Duration = Duration::from_secs(20);

/// How long it may go on with open connections when a test is over.
const LAST_WISH: Duration = Duration::from_millis(500);

/// What it logs, unless `RUST_LOG` says otherwise: it is read only when a test has failed.
const LOG: &str = "info,anabranch=debug";

/// A running `anabranch serve` or `anabranch pm`. Dropping it ends it; its log is printed if a test failed.
#[derive(Debug)]
pub struct Anabranch {
    program: PathBuf,
    child: Child,
    arguments: Vec<String>,
    control: PathBuf,
    log: Arc<Mutex<String>>,
}

impl Anabranch {
    /// Starts the program built with these tests on `host`, serving `port` of every address in
    /// front of the service `to`, and waits until it serves.
    pub fn start(host: &Host, port: u16, to: SocketAddr, arguments: &[String]) -> io::Result<Self> {
        Self::start_program(program()?, host, port, to, arguments)
    }

    /// The same with a given program.
    pub fn start_program(
        program: PathBuf,
        host: &Host,
        port: u16,
        to: SocketAddr,
        arguments: &[String],
    ) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("anabranch-{}-{number}.sock", std::process::id());
        let control = std::env::temp_dir().join(name);
        let mut all = [
            "serve",
            "--listen",
            &port.to_string(),
            "--to",
            &to.to_string(),
        ]
        .map(str::to_owned)
        .to_vec();
        all.extend(["--control".to_owned(), control.display().to_string()]);
        all.extend_from_slice(arguments);
        Self::launch(program, host, all, control)
    }

    /// Starts `anabranch pm` on `host`, and waits until it manages paths. What it keeps account of
    /// is in `folder`.
    pub fn manage(host: &Host, folder: &Path, arguments: &[&str]) -> io::Result<Self> {
        let mut all = ["pm", "--state-dir"].map(str::to_owned).to_vec();
        all.push(folder.display().to_string());
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        Self::launch(program()?, host, all, folder.join("pm.sock"))
    }

    fn launch(
        program: PathBuf,
        host: &Host,
        arguments: Vec<String>,
        control: PathBuf,
    ) -> io::Result<Self> {
        let log = Arc::new(Mutex::new(String::new()));
        let child = spawn(&program, host, &arguments, &log)?;
        let mut server = Self {
            program,
            child,
            arguments,
            control,
            log,
        };
        server.wait_until_it_serves()?;
        Ok(server)
    }

    /// Starts it once more, with the same arguments, after it ended.
    pub fn start_again(&mut self, host: &Host) -> io::Result<()> {
        self.log.lock().expect("no holder panics").clear();
        self.child = spawn(&self.program, host, &self.arguments, &self.log)?;
        self.wait_until_it_serves()
    }

    /// What `anabranch ss --json` prints.
    pub fn connections(&self) -> io::Result<String> {
        self.ask("--json")
    }

    /// The options agreed on with the client at `peer`, as `anabranch ss --info` names them; none
    /// if there is no such connection.
    pub fn agreed(&self, peer: SocketAddr) -> io::Result<Option<Vec<String>>> {
        let connections = self.connections()?;
        let peer = format!("\"{peer}\"");
        let Some(line) = connections.lines().find(|line| line.contains(&peer)) else {
            return Ok(None);
        };
        let list = line.split_once("\"options\":[").map(|(_, rest)| rest);
        let list = list.and_then(|rest| Some(rest.split_once(']')?.0));
        let words = list
            .unwrap_or_default()
            .split(',')
            .map(|w| w.trim_matches('"'));
        Ok(Some(
            words.filter(|w| !w.is_empty()).map(str::to_owned).collect(),
        ))
    }

    /// What it has counted under a name of `anabranch ss --counters`.
    pub fn counter(&self, name: &str) -> io::Result<u64> {
        let counters = self.ask("--counters")?;
        let value = counters
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.ok_or_else(|| io::Error::other(format!("no counter {name} in\n{counters}")))
    }

    fn ask(&self, what: &str) -> io::Result<String> {
        self.command(&["ss", what])
    }

    /// What a command of `anabranch` to this process prints.
    pub fn command(&self, words: &[&str]) -> io::Result<String> {
        let output = Command::new(&self.program)
            .args(words)
            .arg("--control")
            .arg(&self.control)
            .output()?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if !output.status.success() {
            return Err(io::Error::other(text(&output.stderr)));
        }
        Ok(text(&output.stdout))
    }

    /// Where it answers.
    pub fn control(&self) -> &Path {
        &self.control
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no holder panics").clone()
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop (SIGTERM).
    pub fn terminate(&self) -> io::Result<()> {
        Ok(kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        )?)
    }

    /// Stops it at once (SIGKILL), and waits for its end.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                let what = format!("the server has not ended:\n{}", self.log());
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// It says so when its ports are its own.
    fn ready(&self) -> bool {
        let log = self.log.lock().expect("no holder panics");
        log.lines().any(|line| line.ends_with(" ready"))
    }

    fn wait_until_it_serves(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START;
        while !self.ready() {
            if let Some(status) = self.child.try_wait()? {
                // Its last words may still be on their way.
                thread::sleep(Duration::from_millis(100));
                return Err(io::Error::other(format!(
                    "{status} at once:\n{}",
                    self.log()
                )));
            }
            if Instant::now() > deadline {
                let what = format!("the server does not serve:\n{}", self.log());
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Anabranch {
    fn drop(&mut self) {
        // It may have ended before; then there is nothing to end.
        if !self.ends_in_order() {
            let _ = self.kill();
        }
        let _ = std::fs::remove_file(&self.control);
        if thread::panicking() {
            eprintln!("log of anabranch:\n{}", self.log());
        }
    }
}

impl Anabranch {
    /// Asks it to stop, and again to stop at once, so that it removes what it has set up.
    fn ends_in_order(&mut self) -> bool {
        [LAST_WISH, START].iter().any(|patience| {
            // If it is gone already, waiting for it tells.
            let _ = self.terminate();
            self.wait(*patience).is_ok()
        })
    }
}

fn spawn(
    program: &Path,
    host: &Host,
    arguments: &[String],
    log: &Arc<Mutex<String>>,
) -> io::Result<Child> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if std::env::var_os("RUST_LOG").is_none() {
        command.env("RUST_LOG", LOG);
    }
    let mut child = host.run(|| command.spawn())?;
    if let Some(stderr) = child.stderr.take() {
        let log = Arc::clone(log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *log.lock().expect("no holder panics") += &format!("{line}\n");
            }
        });
    }
    Ok(child)
}

/// The built program: `ANABRANCH` names it, or it is built as this test was.
pub fn program() -> io::Result<PathBuf> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PROGRAM.get_or_init(build).clone().map_err(io::Error::other)
}

fn build() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("ANABRANCH") {
        return Ok(path.into());
    }
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--package", "anabranch"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().map_err(|e| format!("cargo: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    // Tests lie in <profile>/deps, programs and examples beside or one above.
    let this = std::env::current_exe().map_err(|e| e.to_string())?;
    let found = this
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("anabranch"));
    found
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| format!("no program `anabranch` near {}", this.display()))
}
