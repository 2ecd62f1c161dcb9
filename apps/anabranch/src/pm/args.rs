//! The command line of `anabranch pm`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Manage the paths of Linux's own Multipath TCP connections.
///
/// In place of mptcpd, and with the policies that `serve` and `connect` have for our own stack. It
/// runs until SIGTERM or SIGINT, then puts back what it has set up.
#[derive(Args, Clone, Debug)]
pub struct PmArgs {
    /// How the kernel is steered.
    #[arg(long, value_enum, default_value_t = Mode::Userspace)]
    pub mode: Mode,

    /// A network namespace by its name, as in `ip netns`; by default that of this process.
    #[arg(long, value_name = "NAME")]
    pub netns: Option<String>,

    /// What is wanted of paths (see docs/paths.md; `anabranch check` checks it): read again on SIGHUP.
    #[arg(long, value_name = "FILE", conflicts_with = "policy")]
    pub config: Option<PathBuf>,

    /// Which subflows connections should have, without a file.
    #[arg(long, value_enum, default_value_t = Kind::Fullmesh)]
    pub policy: Kind,

    /// Change nothing: print what would be done for the connections there are, and end.
    #[arg(long)]
    pub dry_run: bool,

    /// Where `anabranch monitor`, `endpoint`, `limits` and `subflow` reach it [default: pm.sock beside
    /// the account, pm-NAME.sock with --netns]
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,

    /// Where account is kept of what was set up.
    #[arg(long, value_name = "DIR", default_value = "/run/anabranch")]
    pub state_dir: PathBuf,
}

/// How the kernel is steered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Mode {
    /// Each connection by itself, with every means of the policy: new connections are no longer
    /// managed by the kernel (`net.mptcp.path_manager`).
    Userspace,
    /// By the kernel's own endpoints and limits, kept in step with addresses and interfaces.
    Kernel,
}

/// Kinds of policy that need no further word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// One subflow from each address, one to each that the peer announces.
    OneEach,
    /// From each address to each of the peer's.
    Fullmesh,
    /// One through each interface.
    OnePerInterface,
    /// One that is used, the others standing by.
    Handover,
    /// Addresses are announced; peers open subflows.
    Server,
}

impl PmArgs {
    pub(super) fn control(&self) -> PathBuf {
        let name = match &self.netns {
            Some(netns) => format!("pm-{netns}.sock"),
            None => "pm.sock".to_owned(),
        };
        let otherwise = || self.state_dir.join(name);
        self.control.clone().unwrap_or_else(otherwise)
    }
}

impl Kind {
    pub(super) fn kind(self) -> anabranch_paths::Kind {
        use anabranch_paths::Kind as Policy;
        match self {
            Kind::OneEach => Policy::OneEach,
            Kind::Fullmesh => Policy::FullMesh,
            Kind::OnePerInterface => Policy::OnePerInterface,
            Kind::Handover => Policy::Handover(anabranch_paths::Handover::default()),
            Kind::Server => Policy::Server,
        }
    }
}
