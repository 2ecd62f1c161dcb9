//! Everything that might be set up, and not be taken away again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;

use anabranch_interop::tool::output;
use anabranch_interop::topology::{Side, Topology};
use anabranch_kernel::Netlink;
use anabranch_kernel::mptcp::PathManager;

use crate::view::Seen;

/// How many there are of each kind of thing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Ledger(pub(crate) BTreeMap<String, usize>);

impl Ledger {
    pub(crate) fn take(topology: &Topology, processes: &[u32], subflows: usize) -> Ledger {
        let mut counts = BTreeMap::from([("subflows".to_owned(), subflows)]);
        for side in [Side::Client, Side::Server] {
            let on_host = topology.host(side).run(|| {
                let netlink = Netlink::open().unwrap();
                let endpoints = PathManager::open().unwrap().endpoints().unwrap();
                let translations = output("nft", "list ruleset").unwrap();
                [
                    ("rules", netlink.rules().unwrap().len()),
                    ("routes", netlink.routes().unwrap().len()),
                    ("endpoints", endpoints.len()),
                    ("lines of nftables", translations.lines().count()),
                ]
            });
            let named = on_host.map(|(what, count)| (format!("{what} of {side:?}"), count));
            counts.extend(named);
        }
        for (number, process) in processes.iter().enumerate() {
            let open = fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
            counts.insert(format!("descriptors of process {number}"), open);
        }
        Ledger(counts)
    }

    /// The larger of the two, of each.
    pub(crate) fn most(&mut self, other: &Ledger) {
        for (what, count) in &other.0 {
            let most = self.0.entry(what.clone()).or_default();
            *most = (*count).max(*most);
        }
    }
}

/// Which IDs each of the client's addresses has had.
#[derive(Default, Debug)]
pub(crate) struct Ids(BTreeMap<(String, IpAddr), BTreeSet<u8>>);

impl Ids {
    pub(crate) fn note(&mut self, subflows: &[Seen]) {
        for seen in subflows {
            let whose = (seen.connection.clone(), seen.client);
            self.0.entry(whose).or_default().extend(seen.id);
        }
    }

    /// An address has its ID for good; where the connection began it is 0 as well.
    pub(crate) fn most(&self) -> usize {
        self.0.values().map(BTreeSet::len).max().unwrap_or(0)
    }
}
