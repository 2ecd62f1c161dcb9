//! Who sends and who receives.

use crate::lab;
use crate::relayed::path::Path;
use anabranch_interop::socket::{self, Protocol};
use anabranch_kernel::counters;
use anabranch_sockets::{ConnectConfig, Host, StackConfig, Stream};
use anabranch_tcp::congestion::Algorithm;
use bytes::Bytes;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const PATIENCE: Duration = Duration::from_secs(30);
const CHUNK: usize = 64 << 10;

/// Which sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Anabranch,
    Kernel,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Anabranch => "anabranch",
            Kind::Kernel => "Linux",
        })
    }
}

/// Congestion control of the senders.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Congestion {
    Cubic,
    Reno,
    /// Version 3 of ours, version 1 of Linux's.
    Bbr,
}

impl Congestion {
    fn ours(self) -> Algorithm {
        match self {
            Congestion::Cubic => Algorithm::Cubic,
            Congestion::Reno => Algorithm::NewReno,
            Congestion::Bbr => Algorithm::Bbr,
        }
    }

    fn kernels(self) -> &'static str {
        match self {
            Congestion::Cubic => "cubic",
            Congestion::Reno => "reno",
            Congestion::Bbr => "bbr",
        }
    }
}

impl fmt::Display for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Congestion::Cubic => "CUBIC",
            Congestion::Reno => "Reno",
            Congestion::Bbr => "BBR",
        })
    }
}

/// What a sender did that it might rather not have.
#[derive(Clone, Copy, Default, Debug, Serialize)]
pub(crate) struct Sent {
    pub(crate) retransmits: u64,
    pub(crate) timeouts: u64,
}

/// A sender that writes without end.
pub(crate) enum Sender {
    Anabranch {
        stop: oneshot::Sender<()>,
        thread: JoinHandle<io::Result<Sent>>,
    },
    Kernel(TcpStream),
}

impl Sender {
    /// Connects sender number `number` of `path` to `port` and writes; returns when connected.
    pub(crate) fn start(
        path: &Path,
        kind: Kind,
        congestion: Congestion,
        number: u8,
        port: u16,
    ) -> io::Result<Sender> {
        let to = SocketAddr::new(path.to(), port);
        if kind == Kind::Kernel {
            let connect = || socket::connect(Protocol::Tcp, None, to, PATIENCE);
            let stream = path.sender.run(connect)?;
            lab::use_congestion(&stream, congestion.kernels())?;
            let mut writer = stream.try_clone()?;
            thread::spawn(move || {
                let zeroes = vec![0; CHUNK];
                while writer.write_all(&zeroes).is_ok() {}
            });
            return Ok(Sender::Kernel(stream));
        }
        let (tun, from) = path.attach(number)?;
        let mut config = StackConfig::default();
        config.tcp.congestion.algorithm = congestion.ours();
        let (stop, stopped) = oneshot::channel();
        let (connected, established) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let host = Host::start(tun, config)?;
                let plain = ConnectConfig {
                    mptcp: false,
                    ..ConnectConfig::default()
                };
                let from = SocketAddr::new(from, 0);
                let stream = host.connect(from, to, plain).await?;
                // The caller waits for it.
                let _ = connected.send(());
                write_until(stream, stopped).await
            })
        });
        match established.recv() {
            Ok(()) => Ok(Sender::Anabranch { stop, thread }),
            Err(mpsc::RecvError) => {
                let failed = thread.join().expect("the sender does not panic");
                Err(failed.expect_err("it did not come to write"))
            }
        }
    }

    /// Stops it, in the middle of what it does.
    pub(crate) fn stop(self, path: &Path) -> io::Result<Sent> {
        match self {
            Sender::Anabranch { stop, thread } => {
                // It may have failed before; then it says so.
                let _ = stop.send(());
                thread.join().expect("the sender does not panic")
            }
            Sender::Kernel(stream) => {
                let counters = path.sender.run(counters::read).map_err(io::Error::other)?;
                let count = |name: &str| counters.get(name).copied().unwrap_or_default();
                // Ends the writing thread; it may have seen its end before.
                let _ = stream.shutdown(Shutdown::Both);
                Ok(Sent {
                    retransmits: count("TcpRetransSegs"),
                    timeouts: count("TcpExtTCPTimeouts"),
                })
            }
        }
    }
}

async fn write_until(mut stream: Stream, mut stopped: oneshot::Receiver<()>) -> io::Result<Sent> {
    let zeroes = Bytes::from(vec![0; CHUNK]);
    loop {
        tokio::select! {
            written = stream.write_chunk(zeroes.clone()) => written?,
            _ = &mut stopped => {
                let info = stream.info()?;
                stream.abort();
                return Ok(Sent {
                    retransmits: info.subflows.iter().map(|it| it.tcp.stats.retransmits).sum(),
                    timeouts: info.subflows.iter().map(|it| u64::from(it.tcp.stats.rtos)).sum(),
                });
            }
        }
    }
}

/// A kernel socket on the receiving host that counts what it reads.
pub(crate) struct Receiver {
    bytes: Arc<AtomicU64>,
}

impl Receiver {
    /// Takes one connection on `port`.
    pub(crate) fn start(path: &Path, port: u16) -> io::Result<Receiver> {
        let at = SocketAddr::new(path.to(), port);
        let listener = path.receiver.run(|| socket::listen(Protocol::Tcp, at))?;
        let bytes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&bytes);
        thread::spawn(move || {
            let accepted = socket::accept_within(&listener, PATIENCE);
            let Ok(Some((mut stream, _))) = accepted else {
                return;
            };
            let mut buffer = vec![0; 4 * CHUNK];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                counter.fetch_add(n as u64, Ordering::Relaxed);
            }
        });
        Ok(Receiver { bytes })
    }

    /// Bytes read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits for the first byte; returns when it came.
    pub(crate) fn first(&self) -> io::Result<Instant> {
        let start = Instant::now();
        while self.bytes() == 0 {
            if start.elapsed() > PATIENCE {
                return Err(io::Error::other("nothing arrives"));
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(Instant::now())
    }
}

/// Segments that the receiving host got twice, as it told the senders (RFC 2883).
pub(crate) fn duplicates(path: &Path) -> io::Result<u64> {
    let counters = path
        .receiver
        .run(counters::read)
        .map_err(io::Error::other)?;
    let count = |name: &str| counters.get(name).copied().unwrap_or_default();
    Ok(count("TcpExtTCPDSACKOldSent") + count("TcpExtTCPDSACKOfoSent"))
}
