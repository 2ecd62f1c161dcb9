//! Services of the kernel's TCP, for what is relayed.

use super::kernel;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Where they are.
#[derive(Clone, Copy)]
pub(super) struct Services {
    /// Reads all it gets.
    pub(super) sink: SocketAddr,
    /// Writes without end.
    pub(super) source: SocketAddr,
}

/// Starts them, on ports that are free; they go on for as long as the process runs.
pub(super) fn start() -> io::Result<Services> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (sink, source) = (listen()?, listen()?);
    let services = Services {
        sink: sink.local_addr()?,
        source: source.local_addr()?,
    };
    kernel::each(sink, kernel::read_all);
    kernel::each(source, kernel::write_all);
    Ok(services)
}
