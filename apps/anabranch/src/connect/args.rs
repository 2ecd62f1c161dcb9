//! What `anabranch connect` is told.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anabranch_tcp::congestion::Algorithm;
use clap::Args;

use crate::own::AttachArgs;
use crate::serve::args::Target;

/// Connect to a TCP service over several paths at once: standard input goes there, what comes
/// back goes to standard output.
///
/// The connection starts from one address of this host; from the others, subflows of Multipath TCP
/// join it if the server speaks it, and plain TCP goes on if not. When an address goes, or comes
/// back, the connection follows. The end of standard input is the end of what is sent; what the
/// server still has to say is read to its end.
///
/// It needs the capability CAP_NET_ADMIN, and CAP_NET_RAW to hear of paths that take smaller
/// packets only. A TUN device and routes of a few ports of this host, which nobody else uses, are
/// removed when it ends, and after a crash at the next start. With --attach packet it needs
/// CAP_NET_RAW alone, connects from addresses that this program has besides on an interface, and
/// sets nothing up on the host.
#[derive(Args, Debug, Clone)]
#[command(after_help = "Example:\n  \
    echo hello | anabranch connect --from 192.0.2.1 --from 198.51.100.1 example.org:7 --verbose\n\n\
    Exit codes: 0 both directions ended in order; 1 failed, the reason is on standard error; \
    2 the command line is wrong; 3 refused; 4 no answer in time; 5 reset by the server; \
    6 unreachable.")]
pub struct ConnectArgs {
    /// The service
    #[arg(value_name = "HOST:PORT")]
    pub to: Target,

    /// Address of this host to use (repeatable) [default: each that has a route to the server]
    #[arg(long, value_name = "ADDR")]
    pub from: Vec<IpAddr>,

    /// Address of this host to use only when no other works (repeatable)
    #[arg(long, value_name = "ADDR")]
    pub backup: Vec<IpAddr>,

    #[command(flatten)]
    /// How packets come.
    pub device: AttachArgs,

    /// Plain TCP
    #[arg(long, conflicts_with_all = ["checksum", "max_subflows", "full_mesh", "mptcp_version"])]
    pub plain: bool,

    /// Version of Multipath TCP to offer: 0 (RFC 6824) or 1 (RFC 8684)
    #[arg(long, value_name = "VERSION", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(0..=1))]
    pub mptcp_version: u8,

    /// Protect data by checksums: changes on the way are found
    #[arg(long)]
    pub checksum: bool,

    /// Subflows at once
    #[arg(long, value_name = "NUMBER", default_value_t = 8,
          value_parser = clap::value_parser!(u8).range(1..=32))]
    pub max_subflows: u8,

    /// What is wanted of paths: a file as docs/paths.md describes it, read again on SIGHUP
    #[arg(long, value_name = "FILE",
          conflicts_with_all = ["from", "backup", "full_mesh", "max_subflows", "plain"])]
    pub paths: Option<PathBuf>,

    /// Unix socket on which to answer `anabranch endpoint`, `subflow`, `monitor` and `reload`
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,

    /// Subflows from each address to each that the server announces, not one for each
    #[arg(long)]
    pub full_mesh: bool,

    /// Seconds to wait for the connection
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,

    /// Seconds that the connection waits for a path when none is left
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub hold: u64,

    /// Congestion control of what is sent: cubic, reno or bbr (version 3)
    #[arg(long, value_name = "NAME", default_value = "cubic")]
    pub congestion: Algorithm,

    /// Largest packet on the network, bytes [default: that of the interface with the least]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1280..=65535))]
    pub mtu: Option<u16>,

    /// Say on standard error what happens to paths
    #[arg(long, short)]
    pub verbose: bool,

    /// Write a summary in JSON at the end: to standard error, or to FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true,
          default_missing_value = "-")]
    pub json: Option<PathBuf>,
}

impl ConnectArgs {
    /// Refuses what cannot be used.
    ///
    /// # Errors
    /// One line naming the argument.
    pub fn check(&self) -> Result<(), String> {
        for (name, addr) in self.addresses() {
            if addr.is_loopback() || addr.is_multicast() || addr.is_unspecified() {
                return Err(format!(
                    "{name} {addr}: no packet to a network leaves from it"
                ));
            }
        }
        if let Some(addr) = self.from.iter().find(|addr| self.backup.contains(addr)) {
            return Err(format!("--backup {addr}: is also given by --from"));
        }
        self.device.check()?;
        if self.device.is_tun() {
            return Ok(());
        }
        let own = self.device.addresses();
        match self.addresses().find(|(_, addr)| !own.contains(addr)) {
            Some((name, addr)) => Err(format!("{name} {addr}: no --address says so")),
            None => Ok(()),
        }
    }

    /// The addresses asked for, with the argument's name.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&'static str, IpAddr)> + '_ {
        let from = self.from.iter().map(|&addr| ("--from", addr));
        from.chain(self.backup.iter().map(|&addr| ("--backup", addr)))
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}
