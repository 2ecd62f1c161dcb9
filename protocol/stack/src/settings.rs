//! What connections are set to, made once for all that have it in common.

use crate::config::Config;
use anabranch_mptcp::coupled::Congestion;
use anabranch_tcp::budget::Budget;
use anabranch_tcp::{SocketOption, StreamConfig};
use std::sync::Arc;

/// Parameters of connections, but for what the path decides.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) mptcp: Arc<anabranch_mptcp::Config>,
    pub(crate) plain: Arc<StreamConfig>,
}

impl Settings {
    pub(crate) fn new(config: &Config, budget: &Budget) -> Settings {
        Settings {
            mptcp: Arc::new(mptcp(config, budget)),
            plain: Arc::new(plain(config, budget)),
        }
    }

    /// Of a plain connection on a path that takes segments of `mss`, or rather, as a router told,
    /// of `known_mss`.
    pub(crate) fn stream(&self, mss: u16, known_mss: Option<u16>) -> StreamConfig {
        let mut config = (*self.plain).clone();
        config.tcp.mss = config.tcp.socket.max_segment.unwrap_or(u16::MAX).min(mss);
        config.tcp.path_mtu.known_mss = known_mss;
        config
    }

    /// The same with options, which were checked when they were set.
    pub(crate) fn with(&self, options: &[SocketOption]) -> Settings {
        let mut settings = self.clone();
        for option in options {
            let _ = Arc::make_mut(&mut settings.mptcp).set(option);
            let _ = Arc::make_mut(&mut settings.plain).set(option);
        }
        settings
    }
}

fn tcp(config: &Config) -> anabranch_tcp::Config {
    anabranch_tcp::Config {
        recv_buffer: config.limits.recv_buffer.min(u32::MAX as usize) as u32,
        time_wait: config.time_wait,
        ..config.tcp.clone()
    }
}

fn plain(config: &Config, budget: &Budget) -> StreamConfig {
    StreamConfig {
        tcp: tcp(config),
        send_buffer: config.limits.send_buffer,
        gso_max: config.gso_max,
        budget: budget.clone(),
    }
}

fn mptcp(config: &Config, budget: &Budget) -> anabranch_mptcp::Config {
    let mut mptcp = anabranch_mptcp::Config {
        tcp: tcp(config),
        max_subflows: config.limits.subflows.clamp(1, 255) as u8,
        gso_max: config.gso_max,
        send_buffer: config.limits.send_buffer,
        budget: budget.clone(),
        ..config.mptcp.clone()
    };
    if let Some(kind) = mptcp.coupling {
        mptcp.set_congestion(Congestion::Coupled(kind));
    }
    mptcp
}
