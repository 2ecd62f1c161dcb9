//! Sockets of the kernel, TCP or its own MPTCP, in the namespace of the calling thread.

use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use socket2::{Domain, SockAddr, Socket, Type};

/// Which transport of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Plain TCP.
    Tcp,
    /// Linux's own MPTCP.
    Mptcp,
}

impl Protocol {
    fn number(self) -> socket2::Protocol {
        match self {
            Self::Tcp => socket2::Protocol::TCP,
            Self::Mptcp => socket2::Protocol::MPTCP,
        }
    }
}

/// Connects to `to`, from the address `from` if one is given. An IPv4 `to` goes through an IPv6
/// socket if `from` is an IPv6 (mapped) address: only such a socket can join over the other
/// family.
pub fn connect(
    protocol: Protocol,
    from: Option<IpAddr>,
    to: SocketAddr,
    patience: Duration,
) -> io::Result<TcpStream> {
    let to = match (from, to) {
        (Some(IpAddr::V6(_)), SocketAddr::V4(v4)) => {
            SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
        }
        _ => to,
    };
    let socket = Socket::new(
        Domain::for_address(to),
        Type::STREAM,
        Some(protocol.number()),
    )?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    let deadline = Instant::now() + patience;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::from(to)) {
        Err(e) if e.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) => {
            if !ready(&socket, PollFlags::POLLOUT, deadline)? {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    format!("no answer from {to}"),
                ));
            }
            if let Some(error) = socket.take_error()? {
                return Err(error);
            }
        }
        other => other?,
    }
    socket.set_nonblocking(false)?;
    Ok(socket.into())
}

/// Connects to `to` and sends `first`, with the SYN if the kernel has a Fast Open cookie of
/// the server (RFC 7413; `MSG_FASTOPEN`).
pub fn connect_with(
    protocol: Protocol,
    to: SocketAddr,
    first: &[u8],
    patience: Duration,
) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(to),
        Type::STREAM,
        Some(protocol.number()),
    )?;
    socket.set_write_timeout(Some(patience))?;
    let sent = socket.send_to_with_flags(first, &to.into(), nix::libc::MSG_FASTOPEN)?;
    let stream = TcpStream::from(socket);
    (&stream).write_all(&first[sent..])?;
    Ok(stream)
}

/// Listens on `addr`. The listener does not block: use [`accept_within`].
pub fn listen(protocol: Protocol, addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(addr),
        Type::STREAM,
        Some(protocol.number()),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts one connection, or returns `None` after `patience`.
pub fn accept_within(
    listener: &TcpListener,
    patience: Duration,
) -> io::Result<Option<(TcpStream, SocketAddr)>> {
    if !ready(listener, PollFlags::POLLIN, Instant::now() + patience)? {
        return Ok(None);
    }
    match listener.accept() {
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(None),
        accepted => accepted.map(Some),
    }
}

/// Makes the next close of `stream` a reset.
pub fn close_resets(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// Waits until `socket` is ready for `what`; false if `deadline` passed before.
fn ready(socket: &impl AsFd, what: PollFlags, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match nix::poll::poll(&mut [PollFd::new(socket.as_fd(), what)], timeout) {
            Err(nix::errno::Errno::EINTR) => {}
            result => return Ok(result? > 0),
        }
    }
}
