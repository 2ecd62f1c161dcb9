//! What `serve` and `connect` need of the host alike.

use anabranch_drivers::IcmpErrors;
use anabranch_kernel::Netlink;
use std::io;

use crate::cli::Failure;

pub(crate) const NO_PERMISSION: &str = "this needs the capability CAP_NET_ADMIN: run it with sudo, \
     or give it to the binary (sudo setcap cap_net_admin,cap_net_raw+ep PATH), or in a systemd unit \
     set AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW";

/// What an Ethernet takes, bytes: where nothing else is known.
const USUAL_MTU: u16 = 1500;

/// The least that any path of IPv6 takes (RFC 8200 §5), bytes; `--mtu` takes no less either.
const LEAST_MTU: u16 = 1280;

/// The largest packet to send: what was asked for, or what every interface of the host takes.
///
/// # Errors
/// One line.
pub(crate) fn mtu(asked: Option<u16>) -> Result<u16, Failure> {
    if let Some(mtu) = asked {
        return Ok(mtu);
    }
    let least = Netlink::open()
        .and_then(|netlink| netlink.uplink_mtu())
        .map_err(refused)?;
    Ok(least.map_or(USUAL_MTU, |mtu| {
        u16::try_from(mtu).unwrap_or(u16::MAX).max(LEAST_MTU)
    }))
}

/// Has a host `hear` the ICMP errors about its connections from `ports`, which the kernel gets:
/// without them, paths that take smaller packets only are not found out.
pub(crate) fn hear_icmp(
    hear: impl Fn(IcmpErrors) -> io::Result<()>,
    ports: impl Iterator<Item = u16> + Clone,
) {
    for (ipv6, name) in [(false, "ICMP"), (true, "ICMPv6")] {
        let heard = IcmpErrors::open(ipv6, ports.clone()).and_then(&hear);
        match heard {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::warn!("without CAP_NET_RAW, ICMP errors do not reach connections");
                return;
            }
            Err(error) => tracing::warn!("{name} errors do not reach connections: {error}"),
        }
    }
}

/// The kernel's refusal as one line; without permission, what to do.
pub(crate) fn refused(error: anabranch_kernel::Error) -> Failure {
    Failure::Failed(match error {
        anabranch_kernel::Error::Permission { .. } => NO_PERMISSION.to_owned(),
        error => error.to_string(),
    })
}
