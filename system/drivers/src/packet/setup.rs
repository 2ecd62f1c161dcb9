//! Taking addresses on an interface.

use super::socket::{self, Membership, PREFIX, Receiver};
use super::{Complaints, Mtu, Packet, filter, lock};
use crate::complaint::Complaint;
use crate::interface::Interface;
use crate::link::{Link, Mac, Own};
use crate::{Counters, MAX_PACKET};
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Sockets of one group, at most (`PACKET_FANOUT_MAX` before Linux 5.16).
const MAX_QUEUES: usize = 256;

/// Questions whether an address is free.
const PROBES: u32 = 2;

/// What to take of an interface.
#[derive(Clone, Debug)]
pub struct PacketConfig {
    /// Name of an Ethernet interface that is up.
    pub interface: String,
    /// Addresses of our own, which neither the host's kernel nor another station may have: 1 to 12.
    pub addresses: Vec<Own>,
    /// Where packets for elsewhere go: stations of the link, at most one of each family.
    pub gateways: Vec<IpAddr>,
    /// An Ethernet address of our own. `None` is that of the interface, which works everywhere; with
    /// another the host's kernel ignores what is sent to us, also if it forwards packets, but
    /// switches of clouds and wireless links may not deliver to it.
    pub mac: Option<Mac>,
    /// How long to wait for a station that has our addresses already; zero: do not ask.
    pub probe: Duration,
}

impl PacketConfig {
    /// These addresses on this interface, without gateway.
    pub fn new(interface: &str, addresses: impl IntoIterator<Item = Own>) -> PacketConfig {
        PacketConfig {
            interface: interface.to_owned(),
            addresses: addresses.into_iter().collect(),
            gateways: Vec::new(),
            mac: None,
            probe: Duration::from_millis(300),
        }
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.iter().map(|own| own.address).collect()
    }

    /// One line that says what cannot be.
    fn check(&self, queues: usize) -> Result<(), String> {
        let count = self.addresses.len();
        if !(1..=filter::MAX_ADDRESSES).contains(&count) {
            let most = filter::MAX_ADDRESSES;
            return Err(format!("{count} addresses: it takes 1 to {most}"));
        }
        if !(1..=MAX_QUEUES).contains(&queues) {
            return Err(format!("{queues} queues: it takes 1 to {MAX_QUEUES}"));
        }
        if let Some(own) = self.addresses.iter().find(|own| !own.is_possible()) {
            return Err(format!("{} cannot be a station's address", own.address));
        }
        if let Some(mac) = self.mac.filter(|mac| !mac.is_unicast()) {
            return Err(format!("{mac} cannot be a station's address"));
        }
        let is_near = |gateway: &IpAddr| self.addresses.iter().any(|own| own.is_near(*gateway));
        if let Some(gateway) = self.gateways.iter().find(|gateway| !is_near(gateway)) {
            return Err(format!(
                "the gateway {gateway} is not on the link of any address"
            ));
        }
        let of_family = |v4| self.gateways.iter().filter(|g| g.is_ipv4() == v4).count();
        if of_family(true) > 1 || of_family(false) > 1 {
            return Err("more than one gateway of a family".to_owned());
        }
        Ok(())
    }
}

pub(super) fn open(config: &PacketConfig, queues: usize) -> io::Result<Vec<Packet>> {
    config
        .check(queues)
        .map_err(|what| io::Error::new(ErrorKind::InvalidInput, what))?;
    let explain = |error| explain(&config.interface, error);
    let interface = Interface::find(&config.interface).map_err(explain)?;
    let mac = config.mac.unwrap_or(interface.mac);
    let link = Link::new(mac, config.addresses.clone(), config.gateways.clone());
    let link = Arc::new(Mutex::new(link));
    let membership = Membership::new(&interface, config.mac, &config.addresses());
    let membership = Arc::new(membership.map_err(explain)?);
    let down = Arc::new(Mutex::new(Complaint::default()));
    let mut open = Vec::with_capacity(queues);
    for socket in sockets(config, &interface, queues).map_err(explain)? {
        let mtu = interface.mtu(&socket).map_err(explain)?;
        open.push(Packet {
            socket,
            interface: interface.clone(),
            link: Arc::clone(&link),
            receiver: Receiver::new(PREFIX + MAX_PACKET),
            received: Vec::new(),
            released: VecDeque::new(),
            told: Vec::new(),
            mtu: Mtu {
                first: mtu,
                now: mtu,
                looked: Instant::now(),
            },
            counters: Counters::default(),
            dropped: Cell::new(0),
            complaints: Complaints::default(),
            down: Arc::clone(&down),
            _membership: Arc::clone(&membership),
        });
    }
    probe(&mut open, config.probe).map_err(explain)?;
    lock(&link).announce();
    open[0].tend_link();
    Ok(open)
}

fn sockets(
    config: &PacketConfig,
    interface: &Interface,
    queues: usize,
) -> io::Result<Vec<OwnedFd>> {
    let own = config.addresses();
    let filter = filter::program(config.mac.unwrap_or(interface.mac), &own);
    let (mut sockets, mut group) = (Vec::with_capacity(queues), None);
    for _ in 0..queues {
        let socket = socket::open(interface, &filter)?;
        if queues > 1 {
            group = Some(socket::join_fanout(&socket, group)?);
        }
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Waits `patience` for a station that has our addresses; what else comes is none of ours yet.
fn probe(queues: &mut [Packet], patience: Duration) -> io::Result<()> {
    if patience.is_zero() {
        return Ok(());
    }
    for _ in 0..PROBES {
        let until = Instant::now() + patience / PROBES;
        queues[0].link().probe(Instant::now());
        queues[0].tend_link();
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            for queue in &mut *queues {
                queue.hear_conflict()?;
            }
            wait(queues, left)?;
        }
    }
    Ok(())
}

impl Packet {
    fn hear_conflict(&mut self) -> io::Result<()> {
        let mut received = Vec::new();
        match self
            .receiver
            .receive(&self.socket, socket::BATCH, &mut received)
        {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            outcome => outcome?,
        }
        for received in received {
            let frame = received.data.get(anabranch_wire::vnet::LEN..);
            let Some(frame) = frame.filter(|frame| Link::is_for(frame)) else {
                continue;
            };
            let heard = self.link().hear(Instant::now(), frame);
            if let Some((address, mac)) = heard.conflict {
                let message = format!("another station, {mac}, has the address {address}");
                return Err(io::Error::new(ErrorKind::AddrInUse, message));
            }
        }
        Ok(())
    }
}

/// Waits until one of the queues has something, or `patience` is over.
fn wait(queues: &[Packet], patience: Duration) -> io::Result<()> {
    let mut polls: Vec<libc::pollfd> = queues
        .iter()
        .map(|queue| libc::pollfd {
            fd: queue.socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let millis = i32::try_from(patience.as_millis())
        .unwrap_or(i32::MAX)
        .max(1);
    // SAFETY: the pointer and the length are those of `polls`, ours for the call.
    match unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, millis) } {
        0.. => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.kind() == ErrorKind::Interrupted => Ok(()),
            error => Err(error),
        },
    }
}

/// The error with what was tried, and the way out where there is one.
fn explain(interface: &str, error: io::Error) -> io::Error {
    let hint = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "; it needs CAP_NET_RAW: run as root, or `setcap cap_net_raw+ep` the program"
        }
        Some(libc::ENETDOWN) => "; bring it up first (`ip link set .. up`)",
        _ => "",
    };
    io::Error::new(
        error.kind(),
        format!("cannot take addresses on {interface}: {error}{hint}"),
    )
}
