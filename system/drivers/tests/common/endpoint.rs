//! A dumb TCP endpoint behind a driver: one connection, no timers, no retransmission.

use super::poll::{PATIENCE, wait};
use anabranch_drivers::Driver;
use anabranch_wire::Seq;
use anabranch_wire::frame::Frame;
use anabranch_wire::packet::{Build, Packet};
use anabranch_wire::tcp::{Flags, Options, SegmentOptions, SynOptions};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Instant;

/// The next frame that `wanted` accepts; others are passed over.
pub(crate) fn receive_where(
    driver: &mut impl Driver,
    mut wanted: impl FnMut(&Frame) -> bool,
) -> Frame {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let mut frames = Vec::new();
        match driver.receive(&mut frames, 1) {
            Ok(_) if wanted(&frames[0]) => return frames.remove(0),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(driver),
            Err(error) => panic!("receive: {error}"),
        }
    }
    panic!("nothing that was wanted came");
}

/// The server's side of a connection.
pub(crate) struct Endpoint<'a, D> {
    pub(crate) driver: &'a mut D,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    snd_una: Seq,
    snd_nxt: Seq,
    rcv_nxt: Seq,
    /// Bytes the peer accepts, and the shift of its window fields.
    window: u32,
    shift: u8,
    mss: u16,
    /// Payload that came while something else was waited for.
    received: VecDeque<u8>,
    /// Payload that overtook other: the kernel's processors do not wait for each other.
    early: Vec<(Seq, Vec<u8>)>,
    /// Largest segment size of the super-frames received; 0 if there were none.
    pub(crate) largest_gso: u16,
}

impl<'a, D: Driver> Endpoint<'a, D> {
    /// Waits for a SYN to `port` and completes the handshake.
    pub(crate) fn accept(driver: &'a mut D, port: u16) -> Endpoint<'a, D> {
        let mut syn = None;
        receive_where(driver, |frame| {
            syn = Packet::from_frame(frame).ok();
            syn.as_ref()
                .is_some_and(|syn| syn.dst.port() == port && syn.flags == Flags::SYN)
        });
        Endpoint::answer(driver, &syn.expect("a SYN"))
    }

    /// Completes the handshake that `syn` has begun.
    pub(crate) fn answer(driver: &'a mut D, syn: &Packet) -> Endpoint<'a, D> {
        let Options::Syn(options) = &syn.options else {
            panic!("a SYN has a SYN's options")
        };
        let mut endpoint = Endpoint {
            driver,
            local: syn.dst,
            remote: syn.src,
            snd_una: Seq(1000),
            snd_nxt: Seq(1000),
            rcv_nxt: Seq(syn.seq.0.wrapping_add(1)),
            window: u32::from(syn.window),
            shift: options.window_scale.unwrap_or(0),
            mss: options.mss.unwrap_or(536),
            received: VecDeque::new(),
            early: Vec::new(),
            largest_gso: 0,
        };
        endpoint.transmit(Flags::SYN.with(Flags::ACK), &[], 0);
        endpoint.snd_nxt = Seq(1001);
        while endpoint.snd_una != endpoint.snd_nxt {
            endpoint.step();
        }
        endpoint
    }

    /// The next `len` bytes from the peer.
    pub(crate) fn receive(&mut self, len: usize) -> Vec<u8> {
        while self.received.len() < len {
            self.step();
        }
        self.received.drain(..len).collect()
    }

    /// Sends `data` in super-frames as the driver takes them and the peer's window allows, and
    /// waits for their acknowledgement.
    pub(crate) fn send(&mut self, data: &[u8]) {
        let chunk = (self.driver.gso_max() as usize / usize::from(self.mss)).max(1);
        let chunk = chunk * usize::from(self.mss);
        let mut sent = 0;
        while sent < data.len() || self.snd_una != self.snd_nxt {
            let in_flight = self.snd_nxt.0.wrapping_sub(self.snd_una.0);
            let room = self.window.saturating_sub(in_flight) as usize;
            let len = chunk.min(data.len() - sent).min(room);
            // Whole runs while there is something to wait for.
            if len > 0 && (len == chunk || in_flight == 0 || sent + len == data.len()) {
                self.transmit(Flags::ACK, &data[sent..sent + len], self.mss);
                self.snd_nxt = Seq(self.snd_nxt.0.wrapping_add(len as u32));
                sent += len;
            } else {
                self.step();
            }
        }
    }

    /// Takes one frame of the connection.
    fn step(&mut self) {
        let (local, remote) = (self.local, self.remote);
        let mut packet = None;
        let frame = receive_where(self.driver, |frame| {
            packet = Packet::from_frame(frame).ok();
            packet
                .as_ref()
                .is_some_and(|it| it.dst == local && it.src == remote)
        });
        let packet = packet.expect("a packet");
        assert!(
            !packet.flags.has(Flags::RST),
            "the peer reset the connection"
        );
        self.largest_gso = self.largest_gso.max(frame.gso_size);
        if packet.flags.has(Flags::ACK) {
            self.snd_una = packet.ack;
            self.window = u32::from(packet.window) << self.shift;
        }
        let payload = &frame.data[packet.payload.clone()];
        if payload.is_empty() {
            return;
        }
        self.early.push((packet.seq, payload.to_vec()));
        while self.take_next() {}
        self.transmit(Flags::ACK, &[], 0);
    }

    /// Takes a piece that begins where the last one ended, or before; whether there was one. On a loaded
    /// machine the kernel may send something twice: the new part of it counts.
    fn take_next(&mut self) -> bool {
        let known = |seq: Seq| self.rcv_nxt.0.wrapping_sub(seq.0) as i32;
        let Some(at) = self.early.iter().position(|(seq, _)| known(*seq) >= 0) else {
            return false;
        };
        let (seq, payload) = self.early.swap_remove(at);
        let known = known(seq) as usize;
        let new = payload.get(known..).unwrap_or_default();
        self.rcv_nxt = Seq(self.rcv_nxt.0.wrapping_add(new.len() as u32));
        self.received.extend(new);
        true
    }

    fn transmit(&mut self, flags: Flags, payload: &[u8], gso_size: u16) {
        let options = if flags.has(Flags::SYN) {
            let mss = self.driver.mtu() - if self.local.is_ipv4() { 40 } else { 60 };
            let window_scale = Some(7);
            Options::Syn(SynOptions {
                mss: Some(mss),
                window_scale,
                ..SynOptions::default()
            })
        } else {
            Options::Segment(SegmentOptions::default())
        };
        let build = Build {
            src: self.local,
            dst: self.remote,
            ttl: 64,
            traffic_class: 0,
            ident: 0,
            seq: self.snd_nxt,
            ack: self.rcv_nxt,
            flags,
            window: 0x4000,
            urgent: 0,
            options: &options,
            mptcp: &[],
        };
        // In two slices, as a stack's queue would have it.
        let (front, back) = payload.split_at(payload.len() / 2);
        let slices = [Bytes::copy_from_slice(front), Bytes::copy_from_slice(back)];
        let transmit = build
            .transmit(slices.into_iter().collect(), gso_size)
            .expect("a packet");
        self.driver.send(&transmit).expect("the device takes it");
    }
}
