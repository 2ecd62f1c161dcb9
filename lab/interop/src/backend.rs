//! The service behind the server under test: threads with sockets of the kernel.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::exchange::{self, Outcome, Plan};
use crate::socket::{self, Protocol};

/// Serves [`exchange`] plans on a socket of the kernel until dropped.
#[derive(Debug)]
pub struct Backend {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    accepted: Mutex<usize>,
    reports: Mutex<HashMap<u64, Result<Outcome, String>>>,
    news: Condvar,
}

impl Backend {
    /// Listens on `addr` in the network namespace of the calling thread.
    pub fn start(protocol: Protocol, addr: SocketAddr, patience: Duration) -> io::Result<Self> {
        let listener = socket::listen(protocol, addr)?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let acceptor = thread::Builder::new().name("backend".into()).spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared, patience)
        })?;
        Ok(Self {
            addr,
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        *self.shared.accepted.lock().expect("no holder panics")
    }

    /// What the backend saw of the connection whose plan has this seed. An error if it ended out
    /// of order, or not within `patience`.
    pub fn outcome(&self, seed: u64, patience: Duration) -> io::Result<Outcome> {
        let deadline = Instant::now() + patience;
        let mut reports = self.shared.reports.lock().expect("no holder panics");
        loop {
            if let Some(report) = reports.remove(&seed) {
                return report.map_err(io::Error::other);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = "the backend has not seen the connection end";
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            reports = self
                .shared
                .news
                .wait_timeout(reports, left)
                .expect("no holder panics")
                .0;
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            // The acceptor never panics; nothing could be done about it here.
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, patience: Duration) {
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok(Some((stream, _))) = socket::accept_within(listener, Duration::from_millis(50))
        else {
            continue;
        };
        *shared.accepted.lock().expect("no holder panics") += 1;
        let shared = Arc::clone(shared);
        thread::spawn(move || serve(&stream, &shared, patience));
    }
}

fn serve(stream: &TcpStream, shared: &Shared, patience: Duration) {
    match exchange::backend(stream, patience) {
        Ok((plan, outcome)) => shared.report(&plan, Ok(outcome)),
        Err((Some(plan), error)) => shared.report(&plan, Err(error.to_string())),
        // No plan came: nobody can ask for the outcome.
        Err((None, _)) => {}
    }
}

impl Shared {
    fn report(&self, plan: &Plan, outcome: Result<Outcome, String>) {
        self.reports
            .lock()
            .expect("no holder panics")
            .insert(plan.seed, outcome);
        self.news.notify_all();
    }
}
