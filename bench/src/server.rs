//! The servers, each a process of its own.

use anabranch_drivers::tun::TunConfig;
use anabranch_drivers::{Driver, Tun};
use anabranch_interop::socket::{self, Protocol};
use anabranch_kernel::{Attach, AttachConfig};
use anabranch_sockets::{Host, ListenConfig, Listener, Stream};
use bytes::Bytes;
use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use crate::{SINK, SOURCE, Server, dumb};

const CHUNK: usize = 256 << 10;

/// Serves until standard input ends; says "ready" when it does.
pub(crate) fn run(kind: Server, plain: bool) -> io::Result<()> {
    let _attached = match kind {
        Server::Anabranch => Some(over_tun(anabranch)?),
        Server::Dumb => Some(over_tun(dumb::serve)?),
        Server::Kernel => {
            kernel(match plain {
                true => Protocol::Tcp,
                false => Protocol::Mptcp,
            })?;
            None
        }
    };
    println!("ready");
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// Takes the ports and serves them on a thread of its own.
fn over_tun(serve: fn(Tun) -> io::Result<()>) -> io::Result<Attach> {
    let tun = Tun::open(&TunConfig::default())?;
    let config = AttachConfig::new(tun.name(), [SINK..=SOURCE]);
    let attached = Attach::install(config).map_err(io::Error::other)?;
    thread::spawn(move || {
        if let Err(error) = serve(tun) {
            eprintln!("the server ended: {error}");
        }
    });
    Ok(attached)
}

fn anabranch(tun: Tun) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let config = anabranch_stack::Config {
            mtu: tun.mtu(),
            gso_max: tun.gso_max(),
            ..anabranch_stack::Config::default()
        };
        let host = Host::start(tun, config)?;
        let sink = host.listen(ListenConfig::port(SINK))?;
        let source = host.listen(ListenConfig::port(SOURCE))?;
        tokio::try_join!(accept(sink, read_all), accept(source, write_all))?;
        Ok(())
    })
}

async fn accept<F>(listener: Listener, serve: fn(Stream) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    loop {
        // How a connection ends is the client's affair.
        tokio::spawn(serve(listener.accept().await?));
    }
}

async fn read_all(mut stream: Stream) -> io::Result<()> {
    while stream.read_chunk().await?.is_some() {}
    Ok(())
}

async fn write_all(mut stream: Stream) -> io::Result<()> {
    let zeroes = Bytes::from(vec![0; CHUNK]);
    loop {
        stream.write_chunk(zeroes.clone()).await?;
    }
}

fn kernel(protocol: Protocol) -> io::Result<()> {
    let listen = |port| {
        let addr = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        socket::listen(protocol, addr)
    };
    let (sink, source) = (listen(SINK)?, listen(SOURCE)?);
    let patience = Duration::from_secs(3600);
    thread::spawn(move || {
        while let Ok(Some((mut stream, _))) = socket::accept_within(&sink, patience) {
            thread::spawn(move || {
                let mut buffer = vec![0; CHUNK];
                while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
            });
        }
    });
    thread::spawn(move || {
        while let Ok(Some((mut stream, _))) = socket::accept_within(&source, patience) {
            thread::spawn(move || {
                let zeroes = vec![0; CHUNK];
                while stream.write_all(&zeroes).is_ok() {}
            });
        }
    });
    Ok(())
}
