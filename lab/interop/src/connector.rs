//! `anabranch connect` as a user runs it: a process between a plan's bytes and the network.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::exchange::Plan;
use crate::host::Host;
use crate::pattern::{Digest, Tally};
use crate::scene::{PATIENCE, Scene};
use crate::server::program;

const CHUNK: usize = 64 * 1024;

/// A running `anabranch connect` that does a [`Plan`]. Dropping it kills it.
#[derive(Debug)]
pub struct Connector {
    child: Child,
    input: Option<JoinHandle<io::Result<()>>>,
    output: Option<JoinHandle<io::Result<Received>>>,
    stop: Arc<AtomicBool>,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

/// What came out of standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes and their SHA-256.
    pub digest: Digest,
    /// Offset of the first byte that was not the pattern's.
    pub first_wrong: Option<u64>,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub received: Received,
    /// What it wrote to standard error.
    pub log: String,
}

impl Ended {
    /// The last line of its log: a summary in JSON, if `--json` was among the arguments.
    pub fn summary(&self) -> &str {
        self.log.lines().last().unwrap_or_default()
    }
}

impl Scene {
    /// Does `plan` by `anabranch connect` from the client's host to `to`, with further `arguments`.
    ///
    /// # Panics
    /// If it fails, or bytes differ in either direction.
    pub fn connect(&self, to: SocketAddr, arguments: &str, plan: &Plan) -> io::Result<Ended> {
        let connector = Connector::start(&self.topology.client, to, arguments, plan)?;
        self.ended(connector, plan)
    }

    /// The end of a connection that [`Connector::start`] began.
    ///
    /// # Panics
    /// As [`Scene::connect`] does.
    pub fn ended(&self, connector: Connector, plan: &Plan) -> io::Result<Ended> {
        let ended = connector.finish()?;
        assert!(ended.status.success(), "{}\n{}", ended.status, ended.log);
        let backend = self.backend.outcome(plan.seed, PATIENCE)?;
        assert_eq!(ended.received.first_wrong, None, "{}", ended.log);
        assert_eq!(ended.received.digest, backend.sent.digest);
        assert_eq!(backend.received.first_wrong, None);
        assert_eq!(backend.received.digest.bytes, plan.up);
        Ok(ended)
    }
}

impl Connector {
    /// Starts it on `host` towards `to`, with further `arguments` separated by blanks, and has it
    /// send and receive the bytes of `plan`, both directions at once.
    pub fn start(host: &Host, to: SocketAddr, arguments: &str, plan: &Plan) -> io::Result<Self> {
        let mut command = Command::new(program()?);
        command
            .arg("connect")
            .arg(to.to_string())
            .args(arguments.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = host.run(|| command.spawn())?;
        let missing = || io::Error::other("a pipe is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let log = Arc::new(Mutex::new(String::new()));
        let reader = thread::spawn({
            let log = Arc::clone(&log);
            move || follow(stderr, &log)
        });
        let plan = *plan;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        Ok(Self {
            child,
            input: Some(thread::spawn(move || feed(stdin, &plan))),
            output: Some(thread::spawn(move || drain(stdout, &plan, &stopped))),
            stop,
            log,
            reader: Some(reader),
        })
    }

    /// Whoever reads its standard output goes away.
    pub fn stop_reading(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no holder panics").clone()
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it at once (SIGKILL), so that it cleans nothing up.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Waits for its end. What it did not read is no error: it may have had a reason to stop.
    ///
    /// # Panics
    /// If called again.
    pub fn finish(mut self) -> io::Result<Ended> {
        let join = "its threads do not panic";
        let output = self.output.take().expect("not finished before");
        let received = output.join().expect(join)?;
        let status = self.child.wait()?;
        if let Some(input) = self.input.take() {
            let fed = input.join().expect(join);
            if status.success() {
                fed?;
            }
        }
        if let Some(reader) = self.reader.take() {
            reader.join().expect(join);
        }
        Ok(Ended {
            status,
            received,
            log: self.log(),
        })
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        // It has ended already, most often.
        let _ = self.kill();
        if thread::panicking() {
            eprintln!("log of anabranch connect:\n{}", self.log());
        }
    }
}

fn feed(mut stdin: ChildStdin, plan: &Plan) -> io::Result<()> {
    stdin.write_all(&plan.encode())?;
    let (pattern, mut offset) = (plan.up_pattern(), 0);
    let mut buffer = vec![0; CHUNK];
    while offset < plan.up {
        let chunk = &mut buffer[..(plan.up - offset).min(CHUNK as u64) as usize];
        pattern.fill(offset, chunk);
        stdin.write_all(chunk)?;
        offset += chunk.len() as u64;
    }
    Ok(())
}

fn drain(mut stdout: ChildStdout, plan: &Plan, stop: &AtomicBool) -> io::Result<Received> {
    let mut tally = Tally::new(plan.down_pattern());
    let mut buffer = vec![0; CHUNK];
    while !stop.load(Ordering::Relaxed) {
        match stdout.read(&mut buffer)? {
            0 => break,
            n => tally.update(&buffer[..n]),
        }
    }
    Ok(Received {
        digest: tally.digest(),
        first_wrong: tally.first_wrong(),
    })
}

fn follow(mut stderr: impl Read, log: &Mutex<String>) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stderr.read(&mut buffer) {
        *log.lock().expect("no holder panics") += &String::from_utf8_lossy(&buffer[..n]);
    }
}
