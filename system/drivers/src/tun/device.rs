//! Creation of the interface: the ioctls, from the most offload downwards.

use super::Offload;
use crate::interface::{check, configure, request};
use anabranch_wire::vnet;
use libc::{c_int, c_short, c_uint, c_ulong};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

/// An interface and the descriptors it lives by: one for each queue, at least one.
pub(super) struct Device {
    pub(super) queues: Vec<File>,
    pub(super) name: String,
    pub(super) offload: Offload,
}

impl Device {
    /// Creates the interface with so many queues and the most offload the kernel grants, up to
    /// `wanted`.
    pub(super) fn create(name: &str, queues: usize, wanted: Offload) -> io::Result<Device> {
        let several = if queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
        let mut device = Device::create_first(name, several, wanted)?;
        let header = match device.offload {
            Offload::None => 0,
            _ => libc::IFF_VNET_HDR,
        };
        for _ in 1..queues {
            let queue = attach(request(&device.name)?, several | header)
                .map_err(|error| explain("open another queue of", &device.name, error))?;
            device.queues.push(queue.0);
        }
        Ok(device)
    }

    fn create_first(name: &str, several: c_int, wanted: Offload) -> io::Result<Device> {
        let request = request(name)?;
        // An interface of this name that has queues already is somebody else's.
        let flags = several | libc::IFF_TUN_EXCL;
        if wanted > Offload::None {
            match attach(request, flags | libc::IFF_VNET_HDR) {
                Ok((file, name)) => {
                    let size: c_int = vnet::LEN as c_int;
                    ioctl(&file, libc::TUNSETVNETHDRSZ, &size)
                        .map_err(|error| explain("set the header size of", &name, error))?;
                    let offload = set_offload(&file, wanted)
                        .map_err(|error| explain("set the offload of", &name, error))?;
                    return Ok(Device {
                        queues: vec![file],
                        name,
                        offload,
                    });
                }
                // A kernel from before the header refuses the flag.
                Err(error) if error.kind() == ErrorKind::InvalidInput => {}
                Err(error) => return Err(explain("create", name, error)),
            }
        }
        let (file, name) =
            attach(request, flags).map_err(|error| explain("create", name, error))?;
        Ok(Device {
            queues: vec![file],
            name,
            offload: Offload::None,
        })
    }

    pub(super) fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        let mut request = request(&self.name)?;
        request.ifr_ifru.ifru_mtu = c_int::from(mtu);
        configure(libc::SIOCSIFMTU, &mut request)
            .map_err(|error| explain(&format!("set the MTU to {mtu} of"), &self.name, error))
    }

    pub(super) fn set_txqueuelen(&self, packets: u32) -> io::Result<()> {
        let mut request = request(&self.name)?;
        // `ifr_qlen` is an int in the same union.
        request.ifr_ifru.ifru_mtu = c_int::try_from(packets).unwrap_or(c_int::MAX);
        configure(libc::SIOCSIFTXQLEN, &mut request)
            .map_err(|error| explain("set the queue length of", &self.name, error))
    }

    pub(super) fn set_up(&self) -> io::Result<()> {
        let mut request = request(&self.name)?;
        configure(libc::SIOCGIFFLAGS, &mut request)
            // SAFETY: SIOCGIFFLAGS has just filled in the flags.
            .map(|()| unsafe { request.ifr_ifru.ifru_flags })
            .and_then(|flags| {
                request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as c_short;
                configure(libc::SIOCSIFFLAGS, &mut request)
            })
            .map_err(|error| explain("bring up", &self.name, error))
    }
}

/// Opens the clone device and binds it to the interface asked for; tells its name.
fn attach(mut request: libc::ifreq, flags: c_int) -> io::Result<(File, String)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | flags) as c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which is ours for the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) })?;
    let name = request
        .ifr_name
        .iter()
        .take_while(|&&c| c != 0)
        .map(|&c| c as u8)
        .collect();
    let name = String::from_utf8(name).map_err(|_| ErrorKind::InvalidData)?;
    Ok((file, name))
}

/// What the kernel may leave to us, and we to it.
fn set_offload(file: &File, wanted: Offload) -> io::Result<Offload> {
    let segmentation = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    let ladder: [(Offload, c_uint); 4] = [
        (Offload::Segmentation, segmentation | libc::TUN_F_TSO_ECN),
        (Offload::Segmentation, segmentation),
        (Offload::Checksum, libc::TUN_F_CSUM),
        // The header stays, and says of each packet that its checksum is complete.
        (Offload::Checksum, 0),
    ];
    let mut refused = ErrorKind::Unsupported.into();
    for (offload, flags) in ladder.into_iter().filter(|&(offload, _)| offload <= wanted) {
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        let done =
            unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, c_ulong::from(flags)) };
        match check(done) {
            Ok(_) => return Ok(offload),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// An ioctl whose argument the kernel only reads.
fn ioctl(file: &File, operation: libc::Ioctl, argument: &c_int) -> io::Result<()> {
    // SAFETY: the operation reads one int through the pointer.
    check(unsafe { libc::ioctl(file.as_raw_fd(), operation, argument) }).map(drop)
}

/// The error with what was tried, and the way out where there is one.
fn explain(what: &str, name: &str, error: io::Error) -> io::Error {
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => {
            "; it needs CAP_NET_ADMIN: run as root, or `setcap cap_net_admin+ep` the program"
        }
        ErrorKind::NotFound => "; /dev/net/tun is missing: `modprobe tun`",
        _ => "",
    };
    io::Error::new(
        error.kind(),
        format!("cannot {what} TUN device {name}: {error}{hint}"),
    )
}
