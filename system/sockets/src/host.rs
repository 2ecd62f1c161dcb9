//! A host: one stack on one device.

use crate::listener::Listener;
use crate::shared::Shared;
use crate::stream::Stream;
use crate::{driver, error, icmp};
use anabranch_drivers::{Driver, IcmpErrors};
use anabranch_stack::{
    Config, ConnectConfig, Counters, FlowInfo, Instant, ListenConfig, SocketOption, Stack,
};
use bytes::Bytes;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

/// A stack, and the task that moves packets between it and a device. Clones are the same host.
///
/// When the last handle (host, listener, stream) is dropped, connections are still closed in good
/// order; then the task ends and drops the device.
#[derive(Clone)]
pub struct Host {
    shared: Shared,
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
    pub fn start<D: Driver + 'static>(device: D, mut config: Config) -> io::Result<Host> {
        config.mtu = config.mtu.min(device.mtu());
        config.gso_max = device.gso_max();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
        let shared = Shared::new(|now| Stack::new(config, seed, now));
        driver::spawn(device, shared.for_driver())?;
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

    /// Begins to connect, and takes from the front of `first` what is to be sent.
    fn open(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        config: ConnectConfig,
        options: &[SocketOption],
        first: &mut Bytes,
    ) -> io::Result<Stream> {
        let mut inner = self.shared.lock();
        inner.check()?;
        let now = inner.now();
        let id = inner
            .stack
            .connect_with(now, local, remote, config, options)
            .map_err(error::connect)?;
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
    pub fn connections(&self) -> Vec<FlowInfo> {
        self.shared.lock().stack.connections().collect()
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
        self.shared.lock().drain();
        let mut limit = pin!(limit);
        tokio::select! {
            biased;
            () = self.ended() => return true,
            () = &mut limit => {}
        }
        let left = self.shared.lock().abort_all();
        self.ended().await;
        left == 0
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
        poll_fn(|cx| {
            let mut inner = self.shared.lock();
            if inner.has_ended() {
                return Poll::Ready(());
            }
            inner.watch(cx.waker());
            Poll::Pending
        })
        .await;
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}
