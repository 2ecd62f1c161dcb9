//! anabranch's stack through its sockets, in process.

use anabranch::serve::relay::relay;
use anabranch_drivers::Driver;
use anabranch_sockets::{Announcement, Host, ListenConfig, Listener, StackConfig, Stream};
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

use super::device::links;
use super::{Device, ECHO, RELAY_SINK, RELAY_SOURCE, SINK, SOURCE, own_address, service};

const CHUNK: usize = 256 << 10;

/// Serves until the device ends.
pub(super) fn serve(kind: Device, device: Box<dyn Driver>, busy_poll: Duration) -> io::Result<()> {
    let second = |link| Announcement {
        id: link as u8,
        addr: own_address(link),
        port: None,
    };
    let config = StackConfig {
        // Peers join the host's own address through a TUN device; of an address that is ours
        // alone they have to be told.
        announce: match kind {
            Device::Tun => Vec::new(),
            Device::Packet | Device::Xdp => (1..links()?).map(second).collect(),
        },
        ..StackConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let host = Host::start(device, config)?;
        host.set_busy_poll(busy_poll);
        let sink = host.listen(ListenConfig::port(SINK))?;
        let source = host.listen(ListenConfig::port(SOURCE))?;
        let echo = host.listen(ListenConfig::port(ECHO))?;
        let relay_sink = host.listen(ListenConfig::port(RELAY_SINK))?;
        let relay_source = host.listen(ListenConfig::port(RELAY_SOURCE))?;
        let services = service::start()?;
        // Each with a task of its own, as `anabranch serve` does it.
        tokio::spawn(accept(sink, read_all));
        tokio::spawn(accept(source, write_all));
        tokio::spawn(accept(echo, give_back));
        tokio::spawn(accept(relay_sink, move |stream| {
            relayed(stream, services.sink)
        }));
        tokio::spawn(accept(relay_source, move |stream| {
            relayed(stream, services.source)
        }));
        Err(host.closed().await)
    })
}

/// Until the host ends, which says why.
async fn accept<F>(listener: Listener, serve: impl Fn(Stream) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    while let Ok(stream) = listener.accept().await {
        // How a connection ends is the client's affair.
        tokio::spawn(serve(stream));
    }
}

async fn give_back(mut stream: Stream) -> io::Result<()> {
    while let Some(chunk) = stream.read_chunk().await? {
        stream.write_chunk(chunk).await?;
    }
    Ok(())
}

/// As `anabranch serve` does it.
async fn relayed(stream: Stream, to: SocketAddr) -> io::Result<()> {
    let service = TcpStream::connect(to).await?;
    service.set_nodelay(true)?;
    relay(stream, service).await.1
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
