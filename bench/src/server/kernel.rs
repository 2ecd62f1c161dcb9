//! Kernel sockets: bulk with a thread for each connection, all else by one loop.

use anabranch_interop::socket::{self, Protocol};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};

use super::{ECHO, RELAY_SINK, RELAY_SOURCE, SINK, SOURCE, service};
use crate::lab::{self, Controller};

const CHUNK: usize = 256 << 10;

/// Serves for as long as the process runs.
pub(super) fn start(plain: bool, controller: Controller) -> io::Result<()> {
    let protocol = match plain {
        true => Protocol::Tcp,
        false => Protocol::Mptcp,
    };
    let listen = |port| lab::listen(protocol, controller, port);
    each(listen(SINK)?, read_all);
    each(listen(SOURCE)?, write_all);
    let services = service::start()?;
    let (echo, sink, source) = (listen(ECHO)?, listen(RELAY_SINK)?, listen(RELAY_SOURCE)?);
    thread::spawn(move || {
        let served = by_one_loop(async move {
            tokio::try_join!(
                accept(echo, give_back),
                accept(sink, move |stream| relayed(stream, services.sink)),
                accept(source, move |stream| relayed(stream, services.source)),
            )
        });
        if let Err(error) = served {
            eprintln!("the server ended: {error}");
        }
    });
    Ok(())
}

pub(super) fn read_all(mut stream: TcpStream) {
    let mut buffer = vec![0; CHUNK];
    while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
}

pub(super) fn write_all(mut stream: TcpStream) {
    let zeroes = vec![0; CHUNK];
    while stream.write_all(&zeroes).is_ok() {}
}

/// The same runtime that our own server has.
fn by_one_loop<T>(serve: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve)
}

async fn accept<F>(
    listener: TcpListener,
    serve: impl Fn(tokio::net::TcpStream) -> F,
) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        // How a connection ends is the client's affair.
        tokio::spawn(serve(listener.accept().await?.0));
    }
}

async fn give_back(mut stream: tokio::net::TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
    }
}

/// As much as ours relays at a time.
const RELAYED: usize = 64 << 10;

async fn relayed(mut stream: tokio::net::TcpStream, to: SocketAddr) -> io::Result<()> {
    let mut service = tokio::net::TcpStream::connect(to).await?;
    service.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut stream, &mut service, RELAYED, RELAYED).await?;
    Ok(())
}

pub(super) fn each(listener: TcpListener, serve: fn(TcpStream)) {
    let patience = Duration::from_secs(3600);
    thread::spawn(move || {
        while let Ok(Some((stream, _))) = socket::accept_within(&listener, patience) {
            thread::spawn(move || serve(stream));
        }
    });
}
