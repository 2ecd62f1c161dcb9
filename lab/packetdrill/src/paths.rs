//! What Linux's own path manager does with the endpoints of the namespace (`ip mptcp endpoint`).

use crate::world::World;
use anabranch_kernel::mptcp::{Endpoint, Flags, Limits, PathManager};
use anabranch_stack::{Announcement, Config, FlowId, FlowInfo, PathEvent};
use std::net::{IpAddr, SocketAddr};

/// Endpoints and limits, as they are now.
#[derive(Default)]
pub(crate) struct Paths {
    endpoints: Vec<Endpoint>,
    limits: Limits,
}

impl Paths {
    /// Reads them; none where the kernel has no path manager.
    pub(crate) fn read() -> Paths {
        let read = || {
            let manager = PathManager::open()?;
            Ok::<_, anabranch_kernel::Error>(Paths {
                endpoints: manager.endpoints()?,
                limits: manager.limits()?,
            })
        };
        read().unwrap_or_default()
    }

    /// Carries over what holds for each connection from its start.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.limits.subflows = 1 + self.limits.subflows as usize;
        config.announce = self.with(Flags::SIGNAL).map(announcement).collect();
    }

    fn with(&self, flags: Flags) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(move |e| e.flags.has(flags))
    }
}

fn announcement(endpoint: &Endpoint) -> Announcement {
    Announcement {
        id: endpoint.id,
        addr: endpoint.address,
        port: Some(endpoint.port).filter(|port| *port != 0),
    }
}

impl World {
    /// A connection is established: further subflows to where it leads.
    pub(crate) fn open_paths(&mut self, flow: FlowId) {
        let Some(info) = self.stack.info(flow) else {
            return;
        };
        let locals: Vec<Endpoint> = self.paths.with(Flags::SUBFLOW).cloned().collect();
        for endpoint in locals {
            if endpoint.address != info.local.ip() {
                self.join(flow, &info, Some(&endpoint), info.remote);
            }
        }
    }

    /// The peer announced an address: a subflow to it, from each endpoint of a full mesh, or else
    /// from where the connection is.
    pub(crate) fn on_path_event(&mut self, flow: FlowId, event: PathEvent) {
        let PathEvent::Announced { addr, .. } = event else {
            return;
        };
        let Some(info) = self.stack.info(flow) else {
            return;
        };
        let accepted = self.accepted.entry(flow).or_default();
        if *accepted >= self.paths.limits.add_addr_accepted {
            return;
        }
        *accepted += 1;
        let mesh: Vec<Endpoint> = self.paths.with(Flags::FULLMESH).cloned().collect();
        for endpoint in &mesh {
            self.join(flow, &info, Some(endpoint), addr);
        }
        if mesh.is_empty() {
            self.join(flow, &info, None, addr);
        }
    }

    /// One more subflow; the stack refuses those beyond the limit.
    fn join(&mut self, flow: FlowId, info: &FlowInfo, from: Option<&Endpoint>, to: SocketAddr) {
        let local: IpAddr = from.map_or(info.local.ip(), |endpoint| endpoint.address);
        let backup = from.is_some_and(|endpoint| endpoint.flags.has(Flags::BACKUP));
        let _ = self
            .stack
            .join(self.now, flow, (local, 0).into(), to, backup);
    }
}
