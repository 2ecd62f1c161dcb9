//! A host: one stack on one device.

use crate::lanes::Lanes;
use crate::listener::Listener;
use crate::shared::{Clock, Inner, Shared, lock};
use crate::stream::Stream;
use crate::{driver, error, icmp};
use anabranch_drivers::{Driver, IcmpErrors};
use anabranch_stack::policy::Source;
use anabranch_stack::{
    Config, ConnectConfig, ConnectError, Counters, FlowId, FlowInfo, Instant, ListenConfig,
    PathConfig, SocketOption, Stack,
};
use bytes::Bytes;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

/// A stack, and the task that moves packets between it and a device. Clones are the same host.
///
/// When the last handle (host, listener, stream) is dropped, connections are still closed in good
/// order; then the task ends and drops the device.
#[derive(Clone)]
pub struct Host {
    pub(crate) shared: Shared,
}

/// What the shards of a host have in common.
pub(crate) struct Part {
    pub(crate) seed: [u8; 32],
    pub(crate) clock: Clock,
    /// Unless there is one shard only.
    pub(crate) lanes: Option<Lanes>,
}

/// Randomness for a host.
///
/// # Errors
/// The system gives none.
pub(crate) fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(seed)
}

impl Host {
    /// Starts a host on `device`, driven by a task of the current runtime. The device's own mtu
    /// and offload bound what `config` says of them.
    ///
    /// # Errors
    /// The device cannot be waited for, or the system gives no randomness or no descriptor.
    ///
    /// # Panics
    /// Outside a tokio runtime that has I/O and time enabled.
    pub fn start<D: Driver + 'static>(device: D, config: Config) -> io::Result<Host> {
        let part = Part {
            seed: seed()?,
            clock: Clock::start(),
            lanes: None,
        };
        Host::start_part(device, config, part)
    }

    /// [`Host::start`], for a shard.
    pub(crate) fn start_part<D: Driver + 'static>(
        device: D,
        mut config: Config,
        part: Part,
    ) -> io::Result<Host> {
        config.mtu = config.mtu.min(device.mtu());
        config.gso_max = device.gso_max();
        let shared = Shared::new(part.clock, |now| Stack::new(config, part.seed, now));
        driver::spawn(device, shared.for_driver(), part.lanes)?;
        Ok(Host { shared })
    }

    /// Gives the stack ICMP errors that do not come by the device, until the host ends.
    ///
    /// # Errors
    /// The runtime refuses the descriptor.
    ///
    /// # Panics
    /// Outside a tokio runtime that has I/O enabled.
    pub fn hear(&self, errors: IcmpErrors) -> io::Result<()> {
        icmp::spawn(errors, self.shared.for_driver())
    }

    /// Goes on looking for packets for so long after the last one before it sleeps, with the other
    /// tasks and the other I/O of the thread in between: an answer comes earlier, and a core is busy
    /// meanwhile. Zero, as at the start: it sleeps at once.
    pub fn set_busy_poll(&self, limit: Duration) {
        self.shared.lock().set_busy_poll(limit);
    }

    /// Accepts connections from now on.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable` (not ours), `InvalidInput` (port 0); the device's error once
    /// the host has ended.
    pub fn listen(&self, config: ListenConfig) -> io::Result<Listener> {
        let mut inner = self.shared.lock();
        inner.check()?;
        let id = inner.stack.listen(config).map_err(error::listen)?;
        inner.add_listener(id);
        drop(inner);
        Ok(Listener::new(self.shared.clone(), id))
    }

    /// Connects from `local` (whose port may be 0: any free one) to `remote`. A dropped future
    /// gives the attempt up.
    ///
    /// # Errors
    /// `ConnectionRefused`, `TimedOut`, `HostUnreachable`; `AddrNotAvailable`, `AddrInUse` or
    /// `OutOfMemory` without a packet sent; the device's error once the host has ended.
    pub async fn connect(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        config: ConnectConfig,
    ) -> io::Result<Stream> {
        self.connect_with_options(local, remote, config, &[]).await
    }

    /// [`Host::connect`] with options that hold from the first SYN on.
    ///
    /// # Errors
    /// Those of [`Host::connect`], and `InvalidInput` for a value out of range.
    pub async fn connect_with_options(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        config: ConnectConfig,
        options: &[SocketOption],
    ) -> io::Result<Stream> {
        let stream = self.open(local, remote, config, options, &mut Bytes::new())?;
        stream.established().await?;
        Ok(stream)
    }

    /// [`Host::connect`], and writes `first`. With [`ConnectConfig::fast_open`] it goes with the
    /// SYN if the server gave a cookie before, as far as it fits: the answer may be there a
    /// round trip earlier. It may reach the server's application twice (RFC 7413 §6.1): for
    /// requests that can bear it.
    ///
    /// # Errors
    /// Those of [`Host::connect`]; those of writing, if not all of `first` could be taken at once.
    pub async fn connect_with(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        config: ConnectConfig,
        mut first: Bytes,
    ) -> io::Result<Stream> {
        let mut stream = self.open(local, remote, config, &[], &mut first)?;
        stream.established().await?;
        stream.write_chunk(first).await?;
        Ok(stream)
    }

    /// Connects to `remote` from several addresses of this host: from the first of
    /// [`PathConfig::locals`] that fits, and with subflows from the others as soon as the server
    /// agreed to Multipath TCP. `first` is written as with [`Host::connect_with`]. What becomes of
    /// each path is told by [`Stream::paths`].
    ///
    /// # Errors
    /// Those of [`Host::connect_with`]; `AddrNotAvailable` if no address is of the family of
    /// `remote`.
    pub async fn connect_from(
        &self,
        paths: PathConfig,
        remote: SocketAddr,
        config: ConnectConfig,
        mut first: Bytes,
    ) -> io::Result<Stream> {
        let connect = |stack: &mut Stack, now| stack.connect_from(now, paths, remote, config, &[]);
        let mut stream = self.open_by(connect, &mut first)?;
        // From the start: nothing that happens is missed.
        drop(stream.paths());
        stream.established().await?;
        stream.write_chunk(first).await?;
        Ok(stream)
    }

    /// An address is no longer this host's: subflows of [`Host::connect_from`] that use it end, and
    /// peers are told.
    pub fn address_gone(&self, addr: IpAddr) {
        let mut inner = self.shared.lock();
        let now = inner.now();
        inner.stack.address_gone(now, addr);
        inner.wake_driver();
    }

    /// An address is this host's, or again: connections of [`Host::connect_from`] join from it.
    pub fn address_back(&self, source: Source) {
        let mut inner = self.shared.lock();
        let now = inner.now();
        inner.stack.address_back(now, source);
        inner.wake_driver();
    }

    /// Begins to connect, and takes from the front of `first` what is to be sent.
    fn open(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        config: ConnectConfig,
        options: &[SocketOption],
        first: &mut Bytes,
    ) -> io::Result<Stream> {
        let connect =
            |stack: &mut Stack, now| stack.connect_with(now, local, remote, config, options);
        self.open_by(connect, first)
    }

    fn open_by(
        &self,
        connect: impl FnOnce(&mut Stack, Instant) -> Result<FlowId, ConnectError>,
        first: &mut Bytes,
    ) -> io::Result<Stream> {
        let mut inner = self.shared.lock();
        inner.check()?;
        let now = inner.now();
        let id = connect(&mut inner.stack, now).map_err(error::connect)?;
        if !first.is_empty() {
            // Before the SYN leaves. What is not taken now is written later.
            let taken = inner.stack.send(now, id, first.clone()).unwrap_or(0);
            let _ = first.split_to(taken);
        }
        inner.add_flow(id);
        inner.wake_driver();
        drop(inner);
        Ok(Stream::new(self.shared.clone(), id))
    }

    /// Every connection as it is now, half-open and closing ones included.
    /// With very many, [`Host::connections_from`] lets others have their turn.
    pub fn connections(&self) -> Vec<FlowInfo> {
        self.shared.lock().stack.connections().collect()
    }

    /// Some of them, and where to go on, from 0 on: see [`Stack::connections_from`].
    pub fn connections_from(&self, from: usize) -> (Vec<FlowInfo>, Option<usize>) {
        self.shared.lock().stack.connections_from(from)
    }

    /// One of them; `None` if it is gone.
    pub fn info(&self, id: FlowId) -> Option<FlowInfo> {
        self.shared.lock().stack.info(id)
    }

    /// The connection that a token names.
    pub fn find_token(&self, token: u32) -> Option<FlowInfo> {
        let inner = self.shared.lock();
        inner.stack.info(inner.stack.find_token(token)?)
    }

    /// The time that [`FlowInfo`] counts in.
    pub fn now(&self) -> Instant {
        self.shared.lock().now()
    }

    /// What the stack has counted since the start.
    pub fn counters(&self) -> Counters {
        self.shared.lock().stack.counters().clone()
    }

    /// Bytes that the buffers of all connections hold now.
    pub fn memory(&self) -> usize {
        self.shared.lock().stack.memory()
    }

    /// Stops: listeners close, open connections may finish; those that have not when `limit` is
    /// over (a `sleep`, most often) are reset. The device is closed when this returns. Returns
    /// whether everything finished by itself.
    ///
    /// A stream counts as open until it is dropped: what it received may still be read. Connections
    /// in TIME-WAIT are not waited for.
    pub async fn shutdown(&self, limit: impl Future<Output = ()>) -> bool {
        shut_down(&[self], limit).await
    }

    /// Waits until the host has ended, and says why: the device failed, or the host was shut down
    /// (`ConnectionAborted`).
    pub async fn closed(&self) -> io::Error {
        self.ended().await;
        let inner = self.shared.lock();
        match inner.check() {
            Err(error) => error,
            Ok(()) => io::ErrorKind::ConnectionAborted.into(),
        }
    }

    async fn ended(&self) {
        self.ended_without_handle().await;
    }

    /// Waits until the host has ended, which it may when no handle is left: this is none.
    pub(crate) fn ended_without_handle(&self) -> impl Future<Output = ()> + use<> {
        let inner = self.shared.for_driver();
        poll_fn(move |cx| poll_ended(&inner, cx))
    }
}

fn poll_ended(inner: &Mutex<Inner>, cx: &mut Context<'_>) -> Poll<()> {
    let mut inner = lock(inner);
    if inner.has_ended() {
        return Poll::Ready(());
    }
    inner.watch(cx.waker());
    Poll::Pending
}

/// Stops hosts at the same time: see [`Host::shutdown`].
pub(crate) async fn shut_down(hosts: &[&Host], limit: impl Future<Output = ()>) -> bool {
    let all_ended = async || {
        for host in hosts {
            host.ended().await;
        }
    };
    hosts.iter().for_each(|host| host.shared.lock().drain());
    let mut limit = pin!(limit);
    tokio::select! {
        biased;
        () = all_ended() => return true,
        () = &mut limit => {}
    }
    let left: usize = hosts
        .iter()
        .map(|host| host.shared.lock().abort_all())
        .sum();
    all_ended().await;
    left == 0
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}
