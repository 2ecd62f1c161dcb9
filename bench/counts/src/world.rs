//! Two hosts and nothing between them but time.

use anabranch_stack::{
    Config, ConnectConfig, FlowId, Instant, ListenConfig, ListenerId, Recv, Stack,
};
use anabranch_wire::frame::{Frame, Transmit};
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Duration;

/// From one host to the other.
pub const HOP: Duration = Duration::from_micros(50);
/// The port of the server.
pub const PORT: u16 = 80;
/// What a device that segments takes at most, bytes of payload.
pub const SUPER_FRAME: u32 = 65_000;

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// TCP.
    Plain,
    /// Multipath TCP with so many subflows, from 1.
    Multipath {
        /// Subflows.
        subflows: u8,
        /// DSS checksums, RFC 8684 §3.3.1.
        checksum: bool,
    },
}

/// A client and a server.
pub struct World {
    /// The time.
    pub now: Instant,
    /// Who connects.
    pub client: Stack,
    /// Who listens on [`PORT`].
    pub server: Stack,
    listener: ListenerId,
    protocol: Protocol,
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// At the client.
    pub client: FlowId,
    /// At the server.
    pub server: FlowId,
}

fn client_addr(subflow: u8) -> SocketAddr {
    ([10, 0, subflow, 1], 0).into()
}

fn server_addr(subflow: u8) -> SocketAddr {
    ([10, 0, subflow, 2], PORT).into()
}

impl World {
    /// Two hosts whose connections will speak `protocol`.
    ///
    /// # Panics
    /// Never: the port is free.
    pub fn new(protocol: Protocol) -> World {
        let mut config = Config {
            gso_max: SUPER_FRAME,
            ..Config::default()
        };
        config.limits.flows = 1 << 20;
        config.limits.memory = 1 << 40;
        // What a pause does to the window is not what is counted.
        config.tcp.congestion.idle_restart = false;
        config.mptcp.checksum = matches!(protocol, Protocol::Multipath { checksum: true, .. });
        let now = Instant(1_000_000_000);
        let client = Stack::new(config.clone(), [1; 32], now);
        let mut server = Stack::new(config, [2; 32], now);
        let many = ListenConfig {
            backlog: 1 << 20,
            ..ListenConfig::port(PORT)
        };
        let listener = server.listen(many).expect("a free port");
        World {
            now,
            client,
            server,
            listener,
            protocol,
        }
    }

    /// The client's SYN for one more connection is ready to be sent. `n`: which it is; each 16,000
    /// have a client address of their own.
    ///
    /// # Panics
    /// When limits are reached.
    pub fn begin(&mut self, n: usize) -> FlowId {
        let config = ConnectConfig {
            mptcp: self.protocol != Protocol::Plain,
            fast_open: false,
        };
        let mut local = client_addr(0);
        local.set_ip([10, 0, 0, 10 + (n / 16_000) as u8].into());
        self.client
            .connect(self.now, local, server_addr(0), config)
            .expect("a connection")
    }

    /// One more connection, established, with all its subflows.
    ///
    /// # Panics
    /// When it does not come about.
    pub fn connect(&mut self, n: usize) -> Ends {
        let client = self.begin(n);
        self.exchange();
        let server = self.server.accept(self.listener).expect("a connection");
        let ends = Ends { client, server };
        let Protocol::Multipath { subflows, .. } = self.protocol else {
            return ends;
        };
        for subflow in 1..subflows {
            let mut local = client_addr(subflow);
            local.set_ip([10, 0, subflow, 10 + (n / 16_000) as u8].into());
            self.client
                .join(self.now, client, local, server_addr(subflow), false)
                .expect("a join");
            // A join leaves when the peer can know the keys.
            self.pass(Duration::from_secs(1));
        }
        let info = self.server.info(server).expect("a connection");
        let subflows = info.subflows.len();
        assert_eq!(subflows, self.subflows(), "subflows of {info:?}");
        ends
    }

    fn subflows(&self) -> usize {
        match self.protocol {
            Protocol::Plain => 1,
            Protocol::Multipath { subflows, .. } => subflows.into(),
        }
    }

    /// The server's application takes a connection that waits.
    pub fn accept(&mut self) -> Option<FlowId> {
        self.server.accept(self.listener)
    }

    /// Lets both hosts say what they have to say until neither has more.
    pub fn exchange(&mut self) {
        loop {
            let there = packets(&mut self.client, self.now);
            let back = packets(&mut self.server, self.now);
            if there.is_empty() && back.is_empty() {
                return;
            }
            self.now = self.now + HOP;
            for packet in there {
                self.server.receive(self.now, packet.to_frame());
            }
            for packet in back {
                self.client.receive(self.now, packet.to_frame());
            }
        }
    }

    /// The same for `time`, timers included.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.exchange();
            let next = self.client.deadline().into_iter();
            let Some(next) = next.chain(self.server.deadline()).min() else {
                break;
            };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            self.client.on_deadline(self.now);
            self.server.on_deadline(self.now);
        }
        self.now = self.now.max(end);
    }

    /// Sends `bytes` bytes from client to server as fast as it goes.
    ///
    /// # Panics
    /// When the connection ends.
    pub fn transfer(&mut self, ends: Ends, bytes: usize) {
        let chunk = chunk();
        let mut left = bytes;
        while left > 0 || self.client.info(ends.client).expect("open").send_queue > 0 {
            let some = chunk.slice(..left.min(chunk.len()));
            left -= self
                .client
                .send(self.now, ends.client, some)
                .expect("a connection");
            self.exchange();
            read(&mut self.server, self.now, ends.server);
            self.pass(Duration::from_micros(100));
        }
        self.pass(Duration::from_secs(1));
    }
}

/// What an application writes at once, bytes: one super-frame.
pub const CHUNK: usize = 60_000;

/// [`CHUNK`] bytes.
pub fn chunk() -> Bytes {
    Bytes::from(vec![7; CHUNK])
}

/// Everything that a host has to send now; what it has to tell is heard.
pub fn packets(host: &mut Stack, now: Instant) -> Vec<Transmit> {
    let mut packets = Vec::new();
    drain(host, now, &mut packets);
    packets
}

/// The same, added to `packets`.
pub fn drain(host: &mut Stack, now: Instant, packets: &mut Vec<Transmit>) {
    while let Some(packet) = host.poll_transmit(now) {
        packets.push(packet);
    }
    while host.poll_event().is_some() {}
}

/// As they come out of the device of the other host.
pub fn frames(packets: &[Transmit]) -> Vec<Frame> {
    packets.iter().map(Transmit::to_frame).collect()
}

/// Reads all there is; returns how many bytes that was.
///
/// # Panics
/// When the connection is gone.
pub fn read(host: &mut Stack, now: Instant, flow: FlowId) -> usize {
    let mut bytes = 0;
    while let Recv::Data(data) = host.recv(now, flow, usize::MAX).expect("a connection") {
        bytes += data.len();
    }
    bytes
}
