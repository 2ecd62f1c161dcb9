//! Linux's server and ours, with the same services.

use super::paths::{KERNEL, Paths, STACK, STACK_SECOND};
use crate::lab;
use anabranch_interop::socket::{self, Protocol};
use anabranch_sockets::{
    Announcement, Congestion, Host, ListenConfig, Listener, StackConfig, Stream,
};
use bytes::Bytes;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

/// Gives back every message of 64 bytes.
pub(crate) const ECHO: u16 = 7001;
/// Writes without end.
pub(crate) const SOURCE: u16 = 7002;
/// Writes [`RESPONSE`] bytes for each byte it reads.
pub(crate) const RESPOND: u16 = 7003;
/// Writes a message every [`PERIOD`].
pub(crate) const TICK: u16 = 7004;

pub(crate) const MESSAGE: usize = 64;
pub(crate) const RESPONSE: usize = 1_000_000;
pub(crate) const PERIOD: Duration = Duration::from_millis(10);

const PORTS: [u16; 4] = [ECHO, SOURCE, RESPOND, TICK];
const PATIENCE: Duration = Duration::from_secs(30);

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Anabranch,
    Kernel,
}

impl Kind {
    /// Who comes first changes from round to round.
    pub(crate) fn in_order(round: usize) -> [Kind; 2] {
        match round % 2 {
            0 => [Kind::Anabranch, Kind::Kernel],
            _ => [Kind::Kernel, Kind::Anabranch],
        }
    }
}

/// Which server, and its settings if it is ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) kind: Kind,
    pub(crate) scheduler: &'a str,
    pub(crate) steer: &'a str,
    pub(crate) congestion: &'a str,
    /// It announces an address on the second path.
    pub(crate) announced: bool,
}

impl Setup<'_> {
    /// What Linux's sockets use where ours use `congestion`: it has no coupled one.
    fn kernels(&self) -> &'static str {
        match self.congestion {
            "reno" => "reno",
            "bbr" => "bbr",
            _ => "cubic",
        }
    }
}

/// A server that runs until it is dropped, or for Linux's until the process ends.
pub(crate) struct Server {
    address: IpAddr,
    /// Congestion control of Linux's sockets at either end.
    kernels: &'static str,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Server {
    pub(crate) fn start(paths: &Paths, setup: Setup<'_>) -> io::Result<Server> {
        let kernels = setup.kernels();
        if setup.kind == Kind::Kernel {
            let address = IpAddr::from(KERNEL);
            for port in PORTS {
                let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                let listener = paths.server.run(|| socket::listen(Protocol::Mptcp, at))?;
                thread::spawn(move || {
                    while let Ok(Some((stream, _))) = socket::accept_within(&listener, PATIENCE) {
                        // A client that goes away ends it.
                        thread::spawn(move || {
                            lab::use_congestion(&stream, kernels).and_then(|()| serve(stream, port))
                        });
                    }
                });
            }
            return Ok(Server {
                address,
                kernels,
                stop: None,
                thread: None,
            });
        }
        let tun = paths.attach()?;
        let mut config = StackConfig::default();
        config.mptcp.scheduler = setup.scheduler.parse().map_err(io::Error::other)?;
        let second = Announcement {
            id: 1,
            addr: STACK_SECOND.into(),
            port: None,
        };
        config.announce.extend(setup.announced.then_some(second));
        config.mptcp.steering = setup.steer.parse().map_err(io::Error::other)?;
        match setup.congestion.parse().map_err(io::Error::other)? {
            Congestion::Alone(algorithm) => config.tcp.congestion.algorithm = algorithm,
            Congestion::Coupled(kind) => config.mptcp.coupling = Some(kind),
        }
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let host = Host::start(tun, config)?;
                for port in PORTS {
                    let listener = host.listen(ListenConfig::port(port))?;
                    tokio::spawn(accept(listener, port));
                }
                let _ = ready.send(());
                // Dropped or told: it is over.
                let _ = stopped.await;
                Ok(())
            })
        });
        // One that failed says so when it is joined.
        let _ = started.recv();
        Ok(Server {
            address: STACK.into(),
            kernels,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    /// Gives a socket of the client's the congestion control of this work, as accepted ones have it.
    pub(crate) fn control(&self, socket: &TcpStream) -> io::Result<()> {
        lab::use_congestion(socket, self.kernels)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("our server: {error}");
        }
    }
}

fn serve(mut stream: TcpStream, port: u16) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let zeroes = vec![0; 64 << 10];
    let mut message = [0; MESSAGE];
    match port {
        ECHO => loop {
            stream.read_exact(&mut message)?;
            stream.write_all(&message)?;
        },
        SOURCE => loop {
            stream.write_all(&zeroes)?;
        },
        RESPOND => loop {
            stream.read_exact(&mut message[..1])?;
            stream.write_all(&vec![0; RESPONSE])?;
        },
        _ => loop {
            stream.write_all(&message)?;
            thread::sleep(PERIOD);
        },
    }
}

async fn accept(listener: Listener, port: u16) {
    while let Ok(stream) = listener.accept().await {
        tokio::spawn(async move {
            // A client that goes away ends it.
            let _ = serve_ours(stream, port).await;
        });
    }
}

async fn serve_ours(mut stream: Stream, port: u16) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let zeroes = Bytes::from(vec![0; 64 << 10]);
    let mut message = [0; MESSAGE];
    match port {
        ECHO => loop {
            stream.read_exact(&mut message).await?;
            stream.write_all(&message).await?;
        },
        SOURCE => loop {
            stream.write_chunk(zeroes.clone()).await?;
        },
        RESPOND => loop {
            stream.read_exact(&mut message[..1]).await?;
            stream.write_chunk(Bytes::from(vec![0; RESPONSE])).await?;
        },
        _ => {
            let mut ticks = tokio::time::interval(PERIOD);
            loop {
                stream.write_all(&message).await?;
                ticks.tick().await;
            }
        }
    }
}
