//! What `serve` sets up on the host, and removes again: a TUN device and the routes of its ports.

use std::io;
use std::net::IpAddr;

use anabranch_drivers::tun::{Tun, TunConfig};
use anabranch_sockets::Announcement;

use super::args::ServeArgs;
use crate::cli::Failure;

/// Served ports that reach a TUN device.
pub(super) struct Attached {
    device: Option<Tun>,
}

impl Attached {
    pub(super) fn new(args: &ServeArgs) -> Result<Attached, Failure> {
        let config = TunConfig {
            name: args.tun.clone(),
            mtu: args.mtu,
            ..TunConfig::default()
        };
        let device = Tun::open(&config).map_err(|error| cannot_attach(&error))?;
        Ok(Attached {
            device: Some(device),
        })
    }

    pub(super) fn take_device(&mut self) -> Tun {
        self.device.take().expect("taken once, after it was opened")
    }

    pub(super) fn detach(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// The addresses to announce, with the identifiers they have on every connection; 0 is that of the
/// initial subflow (RFC 8684 §3.4.1).
pub(super) fn announcements(addresses: &[IpAddr]) -> Vec<Announcement> {
    let numbered = (1..=u8::MAX).zip(addresses);
    numbered
        .map(|(id, &addr)| Announcement {
            id,
            addr,
            port: None,
        })
        .collect()
}

fn cannot_attach(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Failure::Failed(
            "serving needs the capability CAP_NET_ADMIN: run it with sudo, or give it to the \
             binary (sudo setcap cap_net_admin+ep PATH), or in a systemd unit set \
             AmbientCapabilities=CAP_NET_ADMIN"
                .to_owned(),
        );
    }
    Failure::Failed(error.to_string())
}
