//! Devices that are full most of the time, that say nothing, or that go away.

use crate::common::{CLIENT, SERVER, addr, bytes, read_all, run};
use anabranch_drivers::pipe::{PipeConfig, pipe};
use anabranch_drivers::{Counters, Driver};
use anabranch_sockets::{ConnectConfig, Host, ListenConfig, StackConfig};
use anabranch_wire::frame::{Frame, Transmit};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// A device that says that it is full three times of four, and has room again at once.
struct Stubborn<D> {
    device: D,
    calls: u32,
}

impl<D: Driver> Stubborn<D> {
    fn refuses(&mut self) -> bool {
        self.calls += 1;
        if self.calls.is_multiple_of(4) {
            return false;
        }
        // What a pipe is waited for by is an eventfd.
        let fd = self.device.fd().unwrap().try_clone_to_owned().unwrap();
        File::from(fd).write_all(&1u64.to_ne_bytes()).unwrap();
        true
    }
}

impl<D: Driver> Driver for Stubborn<D> {
    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        self.device.receive(into, max.min(1))
    }

    fn send(&mut self, transmit: &Transmit) -> io::Result<()> {
        if self.refuses() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.device.send(transmit)
    }

    fn mtu(&self) -> u16 {
        self.device.mtu()
    }

    fn gso_max(&self) -> u32 {
        self.device.gso_max()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.device.fd()
    }

    fn counters(&self) -> Counters {
        self.device.counters()
    }
}

#[test]
fn a_storm_of_refusals_loses_no_byte() {
    run(async {
        let (a, b) = pipe(PipeConfig {
            capacity: 2,
            ..PipeConfig::default()
        })
        .unwrap();
        let stubborn = |device| Stubborn { device, calls: 0 };
        let client = Host::start(stubborn(a), StackConfig::default()).unwrap();
        let server = Host::start(stubborn(b), StackConfig::default()).unwrap();
        let listener = server.listen(ListenConfig::at(addr(SERVER))).unwrap();
        let (up, down) = (bytes(1, 3_000_000), bytes(2, 3_000_000));
        let connect = client.connect(addr(CLIENT), addr(SERVER), ConnectConfig::default());
        let (mut here, mut there) = tokio::join!(async { connect.await.unwrap() }, async {
            listener.accept().await.unwrap()
        });
        let one = async {
            here.write_chunk(up.clone()).await.unwrap();
            here.finish().unwrap();
            read_all(&mut here).await.unwrap()
        };
        let other = async {
            let got = read_all(&mut there).await.unwrap();
            there.write_chunk(down.clone()).await.unwrap();
            there.finish().unwrap();
            got
        };
        let (got_down, got_up) = tokio::join!(one, other);
        assert!(got_up == up && got_down == down);
    });
}

#[test]
fn streams_end_with_the_device_and_what_arrived_is_read() {
    run(async {
        let (a, mut b) = pipe(PipeConfig::default()).unwrap();
        let client = Host::start(a, StackConfig::default()).unwrap();
        let connecting = client.connect(addr(CLIENT), addr(SERVER), ConnectConfig::default());
        let gone = async {
            let mut frames = Vec::new();
            while b.receive(&mut frames, 1).is_err() {
                tokio::task::yield_now().await;
            }
            drop(b);
        };
        let (connected, ()) = tokio::join!(connecting, gone);
        let error = connected.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
        assert!(error.to_string().contains("packet device"), "{error}");
    });
}

/// A device with another descriptor than its own.
struct Disguised<D, F> {
    device: D,
    fd: F,
    /// What it says of itself once the other end of that descriptor is gone.
    is_gone: bool,
}

impl<D: Driver, F: AsFd + Send> Driver for Disguised<D, F> {
    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        match self.device.receive(into, max) {
            Err(_) if self.is_gone => Err(io::Error::new(ErrorKind::BrokenPipe, "it is gone")),
            received => received,
        }
    }

    fn send(&mut self, transmit: &Transmit) -> io::Result<()> {
        self.device.send(transmit)
    }

    fn mtu(&self) -> u16 {
        self.device.mtu()
    }

    fn gso_max(&self) -> u32 {
        self.device.gso_max()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn counters(&self) -> Counters {
        self.device.counters()
    }
}

/// The descriptor of a TUN device that was deleted tells of an error and of nothing to read.
#[test]
fn an_idle_host_ends_with_a_device_that_tells_of_an_error() {
    run(async {
        let (device, _other) = pipe(PipeConfig::default()).unwrap();
        // Nobody reads this pipe any more: its writing end has an error, and nothing else.
        let (reader, fd) = io::pipe().unwrap();
        let disguised = Disguised {
            device,
            fd,
            is_gone: true,
        };
        let host = Host::start(disguised, StackConfig::default()).unwrap();
        let mut closed = std::pin::pin!(host.closed());
        assert!(at_once(closed.as_mut()).await.is_none(), "idle");
        drop(reader);
        let error = closed.await;
        assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
        assert_eq!(error.to_string(), "packet device: it is gone");
    });
}

/// What a future comes to at once, after every task had its turn.
async fn at_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let looked = std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut future).poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    });
    looked.await
}

/// Devices that never tell of packets: they are found because hosts look for them.
#[test]
fn a_host_that_polls_finds_packets_that_no_descriptor_tells_of() {
    run(async {
        let (a, b) = pipe(PipeConfig::default()).unwrap();
        let (silent, _ends) = io::pipe().unwrap();
        let deaf = |device| Disguised {
            device,
            fd: silent.try_clone().unwrap(),
            is_gone: false,
        };
        let client = Host::start(deaf(a), StackConfig::default()).unwrap();
        let server = Host::start(deaf(b), StackConfig::default()).unwrap();
        for host in [&client, &server] {
            host.set_busy_poll(Duration::from_secs(60));
        }
        let listener = server.listen(ListenConfig::at(addr(SERVER))).unwrap();
        let connect = client.connect(addr(CLIENT), addr(SERVER), ConnectConfig::default());
        let (mut here, mut there) = tokio::join!(async { connect.await.unwrap() }, async {
            listener.accept().await.unwrap()
        });
        let up = bytes(3, 300_000);
        let sent = async {
            here.write_chunk(up.clone()).await.unwrap();
            here.finish().unwrap();
        };
        let ((), got) = tokio::join!(sent, async { read_all(&mut there).await.unwrap() });
        assert!(got == up);
    });
}
