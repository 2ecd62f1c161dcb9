//! The heap of a host with idle connections: its stack, its sockets, and a task for each connection
//! that waits to read. Its peers are in memory.

use crate::peers;
use crate::server;
use anabranch_drivers::pipe::{MeshConfig, PipeConfig, Steering, mesh};
use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long idle connections are given to rest.
const REST: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(60);

/// Prints the bytes that a host with so many connections holds.
pub(crate) fn run(idle: usize) -> io::Result<()> {
    let (mut queues, mut ends) = mesh(MeshConfig {
        pipe: PipeConfig::default(),
        queues: 1,
        peers: vec![peers::addresses(idle)],
        steering: Steering::Hash,
    })?;
    let (queue, end) = (queues.remove(0), ends.remove(0));
    let (ask, asked) = mpsc::unbounded_channel();
    let server = on_thread(move || server::serve(queue, asked));
    let (connected, wait) = oneshot::channel();
    let (go_on, until) = std::sync::mpsc::channel();
    on_thread(move || peers::run(end, idle, connected, until));
    wait.blocking_recv().map_err(gone)?;
    all_joined(&ask, idle)?;
    thread::sleep(REST);
    // The peers do nothing from here on, so that what is given back is the server's.
    let before = anabranch_heap::held();
    drop(ask);
    server
        .join()
        .map_err(|_| io::Error::other("the server panicked"))??;
    println!("{}", before - anabranch_heap::held());
    drop(go_on);
    Ok(())
}

fn all_joined(
    server: &mpsc::UnboundedSender<oneshot::Sender<usize>>,
    idle: usize,
) -> io::Result<()> {
    for _ in 0..PATIENCE.as_secs() {
        let (tell, told) = oneshot::channel();
        server.send(tell).map_err(gone)?;
        if told.blocking_recv().map_err(gone)? == idle {
            return Ok(());
        }
        thread::sleep(Duration::from_secs(1));
    }
    Err(io::Error::other("some have no second subflow"))
}

/// Its error was printed.
fn gone<E>(_: E) -> io::Error {
    io::Error::other("a thread has ended")
}

/// A thread with a runtime, at whose end nothing is left of what it made.
fn on_thread<F: Future<Output = io::Result<()>>>(
    task: impl FnOnce() -> F + Send + 'static,
) -> JoinHandle<io::Result<()>> {
    thread::spawn(move || {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(task())
        };
        run().inspect_err(|error: &io::Error| eprintln!("anabranch-scale: {error}"))
    })
}
