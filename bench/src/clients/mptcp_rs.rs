//! The other Rust stack, `mptcp-rs`, driven as its documentation says: packets of 1500 bytes through
//! a TUN device without offload, as its own TUN client does it.

use ::mptcp_rs::{ConnectConfig, ConnectionHandle, Endpoint, Event, Instant, ReadError};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::OURS;
use crate::cpu::Meter;
use crate::lab::Direction;
use crate::work::{Length, Sample};

const CHUNK: usize = 256 << 10;
const MTU: u16 = 1500;
/// Packets received before others are sent.
const BATCH: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);

/// Moves bytes over two subflows.
pub(super) fn transfer(
    tun: OwnedFd,
    to: SocketAddr,
    direction: Direction,
    length: Length,
) -> io::Result<Sample> {
    let mut peer = Peer::connect(tun, to)?;
    peer.join(to)?;
    // It joins once data was acknowledged.
    while !peer.joined {
        peer.move_for(direction, 0.01)?;
        if peer.start.elapsed() > PATIENCE {
            return Err(io::Error::new(ErrorKind::TimedOut, "it does not join"));
        }
    }
    peer.move_for(direction, length.warm_up())?;
    peer.move_for(direction, length.seconds)
}

struct Peer {
    tun: File,
    endpoint: Endpoint<ChaCha20Rng>,
    connection: ConnectionHandle,
    start: std::time::Instant,
    buffer: Vec<u8>,
    joined: bool,
}

impl Peer {
    fn connect(tun: OwnedFd, to: SocketAddr) -> io::Result<Peer> {
        let mut endpoint = Endpoint::new(ChaCha20Rng::seed_from_u64(1));
        let start = std::time::Instant::now();
        let connection = endpoint
            .connect_mptcp(
                Instant::from_nanos(0),
                OURS[0].into(),
                to,
                ConnectConfig::default(),
            )
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
        let mut peer = Peer {
            tun: tun.into(),
            endpoint,
            connection,
            start,
            buffer: vec![0; CHUNK],
            joined: false,
        };
        peer.connected()?;
        Ok(peer)
    }

    /// Adds the second subflow.
    fn join(&mut self, to: SocketAddr) -> io::Result<()> {
        let now = self.now();
        self.endpoint
            .add_subflow(now, self.connection, OURS[1].into(), to, MTU, false)
            .map(drop)
            .map_err(|error| io::Error::other(format!("{error:?}")))
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.start.elapsed().as_nanos() as u64)
    }

    /// Waits for the answer to the SYN.
    fn connected(&mut self) -> io::Result<()> {
        let start = self.start.elapsed();
        while self.start.elapsed() - start < PATIENCE {
            let received = self.receive()?;
            let sent = self.send()?;
            while let Some((_, event)) = self.endpoint.poll_event() {
                if let Event::Connected { mptcp: true } = event {
                    return Ok(());
                }
            }
            if !received && !sent {
                self.wait()?;
            }
        }
        Err(io::Error::new(ErrorKind::TimedOut, "it does not connect"))
    }

    fn move_for(&mut self, direction: Direction, seconds: f64) -> io::Result<Sample> {
        let mut meter = Meter::start()?;
        let mut idle = self.start.elapsed();
        while meter.seconds() < seconds {
            let received = self.receive()?;
            let moved = self.application(direction)?;
            meter.moved(moved);
            let sent = self.send()?;
            while let Some((_, event)) = self.endpoint.poll_event() {
                match event {
                    Event::SubflowUp { .. } => self.joined = true,
                    Event::Closed { reason } => {
                        return Err(io::Error::other(format!("closed: {reason:?}")));
                    }
                    _ => {}
                }
            }
            if moved > 0 {
                idle = self.start.elapsed();
            } else if self.start.elapsed() - idle > PATIENCE {
                return Err(io::Error::new(ErrorKind::TimedOut, "nothing moves"));
            }
            if !received && !sent && moved == 0 {
                self.wait()?;
            }
        }
        meter.finish()
    }

    /// Writes what fits, or reads what is there.
    fn application(&mut self, direction: Direction) -> io::Result<usize> {
        let Some(connection) = self.endpoint.connection(self.connection) else {
            return Err(ErrorKind::ConnectionReset.into());
        };
        match direction {
            Direction::Upload => connection
                .write(&self.buffer)
                .map_err(|_| ErrorKind::BrokenPipe.into()),
            Direction::Download => match connection.read(&mut self.buffer) {
                Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => Ok(n),
                Err(ReadError::WouldBlock) => Ok(0),
                Err(_) => Err(ErrorKind::ConnectionReset.into()),
            },
        }
    }

    /// Whether packets came.
    fn receive(&mut self) -> io::Result<bool> {
        let mut packet = [0; MTU as usize];
        for n in 0..BATCH {
            match self.tun.read(&mut packet) {
                Ok(len) => {
                    let now = self.now();
                    self.endpoint.handle_packet(now, &packet[..len]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(n > 0),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Whether packets left.
    fn send(&mut self) -> io::Result<bool> {
        let mut packet = [0; MTU as usize];
        let now = self.now();
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            self.endpoint.handle_timeout(now);
        }
        let mut any = false;
        while let Some(len) = self.endpoint.poll_transmit(now, &mut packet) {
            // What the device has no room for is lost.
            let _ = self.tun.write(&packet[..len]);
            any = true;
        }
        Ok(any)
    }

    /// Until a packet comes or a timer expires.
    fn wait(&mut self) -> io::Result<()> {
        let timeout = self.endpoint.poll_timeout().map(|at| at - self.now());
        let timeout = timeout.unwrap_or(PATIENCE).min(PATIENCE);
        let mut fds = [PollFd::new(self.tun.as_fd(), PollFlags::POLLIN)];
        ppoll(&mut fds, Some(TimeSpec::from_duration(timeout)), None)?;
        Ok(())
    }
}
