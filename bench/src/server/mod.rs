//! The servers, each a process of its own: what comes to one port is read, who connects to another
//! is written to without end, a third gives back what it gets. Two more are relayed to and from
//! services of the kernel's TCP on the same host.

mod anabranch;
mod device;
mod dumb;
mod kernel;
mod service;

pub(crate) use device::{Device, own_address};

use anabranch_interop::socket::Protocol;
use anabranch_interop::topology::{Side, Topology};
use clap::{Args, ValueEnum};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::lab::Controller;

/// The server reads what comes to this port.
pub(crate) const SINK: u16 = 5001;
/// The server writes without end to who connects to this port.
pub(crate) const SOURCE: u16 = 5002;
/// The server sends back what comes to this port, and ends when the client has.
pub(crate) const ECHO: u16 = 5003;
/// What comes to this port is relayed to a service that reads it.
pub(crate) const RELAY_SINK: u16 = 5004;
/// Who connects to this port is relayed what a service writes without end.
pub(crate) const RELAY_SOURCE: u16 = 5005;

/// How a server is to be.
#[derive(Clone, Debug, Args)]
pub(crate) struct Server {
    kind: Kind,
    /// Where packets come from, unless the kernel is the server.
    #[arg(long, value_enum, default_value_t = Device::Tun)]
    device: Device,
    /// How long anabranch looks for packets before it sleeps, microseconds.
    #[arg(long, default_value_t = 0)]
    busy_poll: u64,
    /// Plain TCP only.
    #[arg(long)]
    plain: bool,
    /// Congestion control of kernel sockets.
    #[arg(long, value_enum, default_value_t = Controller::Cubic)]
    controller: Controller,
}

/// Who serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Kind {
    /// anabranch's stack, in process.
    Anabranch,
    /// Linux's own Multipath TCP, or its TCP.
    Kernel,
    /// An endpoint without memory: the ceiling.
    Dumb,
}

impl Server {
    fn new(kind: Kind, device: Device) -> Server {
        Server {
            kind,
            device,
            busy_poll: 0,
            plain: false,
            controller: Controller::Cubic,
        }
    }

    /// anabranch's stack.
    pub(crate) fn anabranch(device: Device) -> Server {
        Server::new(Kind::Anabranch, device)
    }

    /// The same; it looks for packets for so many microseconds before it sleeps.
    pub(crate) fn polling(device: Device, busy_poll: u64) -> Server {
        Server {
            busy_poll,
            ..Server::anabranch(device)
        }
    }

    /// An endpoint without memory: what the device can carry.
    pub(crate) fn dumb(device: Device) -> Server {
        Server::new(Kind::Dumb, device)
    }

    /// Linux's own.
    pub(crate) fn kernel(protocol: Protocol, controller: Controller) -> Server {
        Server {
            plain: protocol == Protocol::Tcp,
            controller,
            ..Server::new(Kind::Kernel, Device::Tun)
        }
    }

    /// Where the client finds it.
    pub(crate) fn address(&self, topology: &Topology) -> IpAddr {
        match self.device {
            Device::Packet | Device::Xdp => own_address(0),
            Device::Tun => topology.v4(Side::Server, 0),
        }
    }

    /// The command line that makes another process this server.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map_or(String::new(), |value| value.get_name().to_owned())
        };
        let mut arguments = vec![
            name(self.kind.to_possible_value()),
            format!("--device={}", name(self.device.to_possible_value())),
            format!("--busy-poll={}", self.busy_poll),
            format!("--controller={}", name(self.controller.to_possible_value())),
        ];
        arguments.extend(self.plain.then(|| "--plain".to_owned()));
        arguments
    }

    /// Serves until standard input ends; says "ready" when it does.
    pub(crate) fn run(&self) -> io::Result<()> {
        let _served = match self.kind {
            Kind::Anabranch => {
                let busy_poll = Duration::from_micros(self.busy_poll);
                let serve = move |kind, device| anabranch::serve(kind, device, busy_poll);
                Some(self.device.serve(serve)?)
            }
            Kind::Dumb => Some(self.device.serve(dumb::serve)?),
            Kind::Kernel => {
                kernel::start(self.plain, self.controller)?;
                None
            }
        };
        println!("ready");
        io::copy(&mut io::stdin(), &mut io::sink())?;
        Ok(())
    }
}
