//! What `anabranch serve` is told, parsed into types that cannot be wrong.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use anabranch_mptcp::Versions;
use anabranch_stack::{Congestion, Rule, Scheduler, Steering, SynCookies};
use anabranch_tcp::Ecn;
use clap::Args;

use crate::own::{AttachArgs, Mode};

/// Threads at most: as many shards as a host has.
const MAX_THREADS: usize = 64;

/// Where the control socket is unless told otherwise.
pub const CONTROL_PATH: &str = "/run/anabranch/control.sock";

/// Serve ports of this host over Multipath TCP and forward each connection to a TCP service.
///
/// Clients connect to this host's own addresses as they always did (or, with --attach packet or xdp,
/// to addresses that this program has besides on an interface, with nothing set up on the host). Those whose system speaks
/// Multipath TCP may use several paths at once; all others are served over plain TCP. Nothing has
/// to change in the service behind.
///
/// It needs the capability CAP_NET_ADMIN, and CAP_NET_RAW to hear of paths that take smaller packets
/// only (run it as root, or see the README for a service unit).
/// What it sets up on the host is removed when it stops, and after a crash at the next start.
/// SIGTERM, SIGINT or, without --paths, SIGHUP stops it: new connections are refused, open ones may finish within --drain
/// seconds; a second signal stops at once.
#[derive(Args, Debug, Clone)]
#[command(after_help = "Example, a web server with two uplinks:\n  \
    anabranch serve --listen 443 --to 127.0.0.1:8443 --announce 198.51.100.7\n\n\
    Exit codes: 0 stopped as asked; 1 failed, the reason is on standard error; \
    2 the command line is wrong.")]
pub struct ServeArgs {
    /// Port to serve, on every address of this host or on ADDR alone; each --listen goes with one
    /// --to, in the order given
    #[arg(long, value_name = "PORT|ADDR:PORT", required = true)]
    pub listen: Vec<Listen>,

    /// TCP service that gets the connections of the matching --listen
    #[arg(long, value_name = "HOST:PORT", required = true)]
    pub to: Vec<Target>,

    /// Further address of this host to tell clients of, so that they open more paths to it
    /// (repeatable)
    #[arg(long, value_name = "ADDR")]
    pub announce: Vec<IpAddr>,

    #[command(flatten)]
    /// How packets come.
    pub device: AttachArgs,

    /// Name of the TUN device to create
    #[arg(long, value_name = "NAME", help_heading = "Attachment", default_value = "anabranch0", value_parser = device_name)]
    pub tun: String,

    /// Largest packet on the network, bytes [default: that of the interface with the least]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1280..=65535))]
    pub mtu: Option<u16>,

    /// Unix socket on which `anabranch ss` asks
    #[arg(long, value_name = "PATH", default_value = CONTROL_PATH)]
    pub control: PathBuf,

    /// Threads to serve with, each with its own share of --memory and --max-connections
    /// [default: one for each core; with --attach xdp one]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub threads: Option<u8>,

    /// What is wanted of paths: a file as docs/paths.md describes it, read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub paths: Option<PathBuf>,

    /// Connections served at once; further ones are refused
    #[arg(long, value_name = "NUMBER", default_value_t = 65_536,
          value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub max_connections: u32,

    /// Memory for data of all connections, bytes with K, M or G; when it is used up new
    /// connections are refused and open ones slow down
    #[arg(long, value_name = "BYTES", default_value = "1G")]
    pub memory: Memory,

    /// Which path data goes to: minrtt, roundrobin, redundant, blest, ecf, weighted, backup or
    /// adaptive, some with settings after a colon (docs/schedulers.md)
    #[arg(long, value_name = "NAME[:SETTINGS]", default_value = "minrtt")]
    pub scheduler: Scheduler,

    /// Congestion control of what is sent: cubic, reno or bbr (version 3) for each path by itself;
    /// lia, olia, balia or wvegas for all paths of a connection together
    #[arg(long, value_name = "NAME", default_value = "cubic")]
    pub congestion: Congestion,

    /// What clients are told about the paths of what they send, while that is little: on, off, or
    /// settings such as slower=2,give-up=never (docs/schedulers.md)
    #[arg(long, value_name = "SETTINGS", default_value = "on")]
    pub steer: Steering,

    /// Another scheduler, congestion control or steering for some connections (repeatable, the first
    /// that fits holds): any of peer=ADDR[/BITS], peer-port=N, port=N, local=ADDR and dscp=N, then
    /// scheduler=NAME (settings after a colon), congestion=NAME or steer=SETTINGS, between blanks
    #[arg(long, value_name = "RULE", value_parser = super::rule::parse)]
    pub rule: Vec<Rule>,

    /// Explicit congestion notification: off, passive (where clients ask for it) or accurate
    /// (with accurate feedback where they ask for that)
    #[arg(long, value_name = "KIND", default_value = "passive")]
    pub ecn: Ecn,

    /// Take what clients send with their SYN (TCP Fast Open), from at most NUMBER at a time that
    /// have not completed their handshake; it may come twice, so only for services that can bear
    /// it [default: never]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub fast_open: Option<u32>,

    /// When to answer clients by SYN cookies: never, pressure (when a flood of SYNs fills the
    /// backlog) or always
    #[arg(long, value_name = "WHEN", default_value = "pressure", value_parser = syn_cookies)]
    pub syn_cookies: SynCookies,

    /// Versions of Multipath TCP to speak: 0 (RFC 6824), 1 (RFC 8684) or all
    #[arg(long, value_name = "VERSION", default_value = "all")]
    pub versions: Versions,

    /// Seconds that open connections have to finish when the server is told to stop
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub drain: u64,
}

/// A port to serve, on one address or on all of the host's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Listen {
    /// The one address; `None` is every address of the host.
    pub addr: Option<IpAddr>,
    /// The port, not 0.
    pub port: u16,
}

fn syn_cookies(text: &str) -> Result<SynCookies, String> {
    match text {
        "never" => Ok(SynCookies::Never),
        "pressure" => Ok(SynCookies::UnderPressure),
        "always" => Ok(SynCookies::Always),
        _ => Err("expected never, pressure or always".to_owned()),
    }
}

impl Listen {
    /// Whether connections to `to` come here, `ours` being the host's addresses. Loopback is never
    /// served.
    pub fn takes(&self, to: SocketAddr, ours: &[IpAddr]) -> bool {
        let served = match self.addr {
            Some(addr) => addr == to.ip(),
            None => ours.contains(&to.ip()) && !to.ip().is_loopback(),
        };
        served && self.port == to.port()
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        let (addr, port) = match text.rsplit_once(':') {
            None => (None, text),
            Some(_) => {
                let whole: SocketAddr = text.parse().map_err(|_| {
                    "expected PORT, ADDR:PORT or [IPV6-ADDR]:PORT (no host name)".to_owned()
                })?;
                return Listen::new(Some(whole.ip()), whole.port());
            }
        };
        let port = port
            .parse()
            .map_err(|_| "expected PORT (1 to 65535) or ADDR:PORT".to_owned())?;
        Listen::new(addr, port)
    }
}

impl Listen {
    fn new(addr: Option<IpAddr>, port: u16) -> Result<Listen, String> {
        if port == 0 {
            return Err("port 0 cannot be served".to_owned());
        }
        match addr {
            Some(addr) if addr.is_multicast() => Err(format!("{addr} is a multicast address")),
            Some(addr) if addr.is_loopback() => Err(format!(
                "{addr} is a loopback address: no packet from a network reaches it"
            )),
            Some(addr) if addr.is_unspecified() => Ok(Listen { addr: None, port }),
            addr => Ok(Listen { addr, port }),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            Some(addr) => write!(f, "{}", SocketAddr::new(addr, self.port)),
            None => write!(f, "port {}", self.port),
        }
    }
}

/// A TCP service, by name or address.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    /// Name or address, without brackets.
    pub host: String,
    /// The port, not 0.
    pub port: u16,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let shape = || "expected HOST:PORT, ADDR:PORT or [IPV6-ADDR]:PORT".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(shape)?;
        let port = port.parse().map_err(|_| shape())?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(shape)?,
            None if host.contains(':') => return Err(shape()),
            None => host,
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(shape());
        }
        if port == 0 {
            return Err("port 0 cannot be connected to".to_owned());
        }
        Ok(Target {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Memory(pub u64);

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Memory, String> {
        let shape = || "expected bytes, such as 67108864, 64M or 2G".to_owned();
        let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let number: u64 = digits.parse().map_err(|_| shape())?;
        let shift = match unit.to_ascii_uppercase().as_str() {
            "" => 0,
            "K" => 10,
            "M" => 20,
            "G" => 30,
            _ => return Err(shape()),
        };
        let bytes = number.checked_mul(1 << shift).ok_or_else(shape)?;
        if bytes < 1 << 20 {
            return Err("less than 1M is too little to serve with".to_owned());
        }
        Ok(Memory(bytes))
    }
}

/// Linux takes device names of 1 to 15 bytes without `/`, `:` and white space (`dev_valid_name`).
fn device_name(text: &str) -> Result<String, String> {
    let forbidden = |c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace();
    match text {
        "" | "." | ".." => Err("not a device name".to_owned()),
        _ if text.len() > 15 => Err("a device name has at most 15 characters".to_owned()),
        _ if text.contains(forbidden) => Err("not a device name".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

impl ServeArgs {
    /// Threads to serve with.
    pub fn threads(&self) -> usize {
        let cores = || match self.device.attach {
            // As many as the interface has receive queues: most likely not one for each core.
            Mode::Xdp => 1,
            _ => std::thread::available_parallelism().map_or(1, usize::from),
        };
        self.threads
            .map_or_else(cores, usize::from)
            .min(MAX_THREADS)
    }

    /// Each port with the service behind it.
    ///
    /// # Errors
    /// One line naming the argument: a --listen without its --to or the other way round, or a port
    /// listed twice.
    pub fn pairs(&self) -> Result<Vec<(Listen, Target)>, String> {
        match self.listen.get(self.to.len()) {
            Some(listen) => return Err(format!("--listen {listen} has no --to")),
            None if self.to.len() > self.listen.len() => {
                return Err(format!(
                    "--to {} has no --listen",
                    self.to[self.listen.len()]
                ));
            }
            None => {}
        }
        for (i, listen) in self.listen.iter().enumerate() {
            if self.listen[..i].contains(listen) {
                return Err(format!("--listen {listen} is given twice"));
            }
        }
        Ok(self
            .listen
            .iter()
            .copied()
            .zip(self.to.iter().cloned())
            .collect())
    }

    /// Refuses addresses that no client could use.
    ///
    /// # Errors
    /// One line naming the argument.
    pub fn check_announced(&self) -> Result<(), String> {
        for addr in &self.announce {
            if addr.is_loopback() || addr.is_multicast() || addr.is_unspecified() {
                return Err(format!(
                    "--announce {addr}: no client can reach this address"
                ));
            }
        }
        Ok(())
    }
}
