//! What happened to paths, in words and in JSON.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anabranch_sockets::{
    Counters, FallbackReason, FlowInfo, PathEvent, Protocol, ResetReason, SubflowEnd, SubflowInfo,
};
use serde::Serialize;

use crate::cli::Failure;

/// The connection at its end.
#[derive(Serialize, Debug)]
pub(super) struct Summary {
    /// `ok`, or what went wrong.
    pub(super) result: String,
    pub(super) remote: String,
    /// `mptcp` or `tcp`; also `tcp` for what went on as such.
    pub(super) protocol: &'static str,
    /// Of Multipath TCP.
    pub(super) version: Option<u8>,
    pub(super) checksum: bool,
    /// Why it went on as plain TCP, if it did.
    pub(super) fallback: Option<String>,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) subflows: Vec<PathSummary>,
    /// What the stack counted, as `nstat` names it; zeros are left out.
    pub(super) counters: BTreeMap<&'static str, u64>,
}

/// One subflow.
#[derive(Serialize, Clone, Debug)]
pub(super) struct PathSummary {
    id: u32,
    local: String,
    remote: String,
    local_id: u8,
    remote_id: u8,
    backup: bool,
    bytes_sent: u64,
    bytes_received: u64,
    srtt_ms: Option<f64>,
    /// Why it ended before the connection did.
    end: Option<String>,
}

impl PathSummary {
    fn new(subflow: &SubflowInfo, end: Option<SubflowEnd>) -> PathSummary {
        let tcp = &subflow.tcp;
        PathSummary {
            id: subflow.id.0,
            local: subflow.local.to_string(),
            remote: subflow.remote.to_string(),
            local_id: subflow.local_id,
            remote_id: subflow.remote_id,
            backup: subflow.backup,
            bytes_sent: tcp.stats.bytes_out,
            bytes_received: tcp.stats.bytes_in,
            srtt_ms: tcp.timing.srtt.map(|srtt| srtt.as_secs_f64() * 1e3),
            end: end.map(why_ended),
        }
    }
}

/// Collects what happens to a connection's paths.
#[derive(Default, Debug)]
pub(super) struct Log {
    verbose: bool,
    fallback: Option<FallbackReason>,
    info: Option<FlowInfo>,
    ended: BTreeMap<u32, PathSummary>,
}

impl Log {
    pub(super) fn new(verbose: bool) -> Log {
        Log {
            verbose,
            ..Log::default()
        }
    }

    fn say(&self, line: &str) {
        if self.verbose {
            eprintln!("{line}");
        }
    }

    /// The connection as it is now.
    pub(super) fn look(&mut self, info: FlowInfo) {
        for (subflow, end) in &info.gone {
            let summary = PathSummary::new(subflow, Some(*end));
            self.ended.insert(subflow.id.0, summary);
        }
        if !info.subflows.is_empty() {
            self.info = Some(info);
        }
    }

    pub(super) fn connected(&self) {
        let Some(info) = &self.info else { return };
        let protocol = match info.protocol {
            Protocol::Mptcp(mptcp) if !mptcp.fallback => {
                format!("Multipath TCP version {}", mptcp.version)
            }
            _ => "plain TCP".to_owned(),
        };
        self.say(&format!(
            "connected {} -> {}: {protocol}",
            info.local, info.remote
        ));
    }

    /// Something happened to a path; `info` was asked for after that.
    pub(super) fn on_event(&mut self, event: &PathEvent, info: Option<FlowInfo>) {
        if let Some(info) = info {
            self.look(info);
        }
        match event {
            PathEvent::SubflowUp(id) => self.say(&format!("path {}: up{}", id.0, self.ends(id.0))),
            PathEvent::SubflowGone(id, end) => {
                let why = why_ended(*end);
                self.say(&format!("path {}: {why}{}", id.0, self.ends(id.0)));
            }
            PathEvent::Announced { id, addr } => {
                self.say(&format!("the server announced {addr} (ID {id})"));
            }
            PathEvent::Withdrawn { id } => self.say(&format!("the server withdrew ID {id}")),
            PathEvent::Priority { subflow, backup } => {
                let what = if *backup { "a backup" } else { "no backup" };
                let ends = self.ends(subflow.0);
                self.say(&format!(
                    "path {}: the server wants it as {what}{ends}",
                    subflow.0
                ));
            }
            PathEvent::Stuck(why) => self.say(&format!("no path may be used: {why}")),
            PathEvent::Fallback(reason) => {
                self.fallback = Some(*reason);
                self.say(&format!("plain TCP from now on: {}", why_plain(*reason)));
            }
        }
    }

    /// The addresses of a subflow, if they are known.
    fn ends(&self, id: u32) -> String {
        let living = self.info.iter().flat_map(|info| &info.subflows);
        let mut living = living.filter(|s| s.id.0 == id);
        if let Some(s) = living.next() {
            let backup = if s.backup { ", backup" } else { "" };
            return format!(" {} -> {}{backup}", s.local, s.remote);
        }
        let ended = self.ended.get(&id);
        ended.map_or_else(String::new, |s| format!(" {} -> {}", s.local, s.remote))
    }

    /// What is to be told at the end.
    pub(super) fn summary(
        &self,
        result: String,
        remote: String,
        carried: (u64, u64),
        counters: &Counters,
    ) -> Summary {
        let mptcp = self.info.as_ref().and_then(|info| match info.protocol {
            Protocol::Mptcp(mptcp) => Some(mptcp),
            Protocol::Tcp => None,
        });
        let multipath = mptcp.filter(|mptcp| !mptcp.fallback);
        let mut subflows = self.ended.clone();
        for subflow in self.info.iter().flat_map(|info| &info.subflows) {
            let summary = || PathSummary::new(subflow, None);
            subflows.entry(subflow.id.0).or_insert_with(summary);
        }
        Summary {
            result,
            remote,
            protocol: if multipath.is_some() { "mptcp" } else { "tcp" },
            version: multipath.map(|mptcp| mptcp.version),
            checksum: multipath.is_some_and(|mptcp| mptcp.checksum),
            fallback: self.fallback.map(|reason| why_plain(reason).to_owned()),
            bytes_sent: carried.0,
            bytes_received: carried.1,
            subflows: subflows.into_values().collect(),
            counters: counters.iter().filter(|(_, value)| *value > 0).collect(),
        }
    }
}

impl Summary {
    /// Writes it as one line to standard error, or to a file.
    pub(super) fn write(&self, to: &Path) -> Result<(), Failure> {
        let failed =
            |error: std::io::Error| Failure::Failed(format!("--json={}: {error}", to.display()));
        let mut text = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        if to == Path::new("-") {
            return std::io::stderr().write_all(&text).map_err(failed);
        }
        std::fs::write(to, text).map_err(failed)
    }
}

pub(crate) fn why_ended(end: SubflowEnd) -> String {
    match end {
        SubflowEnd::Closed => "closed".to_owned(),
        SubflowEnd::Tcp(reason) => reason.to_string(),
        SubflowEnd::PeerReset(reason) => format!("reset by the server: {}", why_reset(reason)),
        SubflowEnd::Reset(reason) => format!("reset: {}", why_reset(reason)),
        SubflowEnd::TimedOut => "did not close in time".to_owned(),
        SubflowEnd::Withdrawn => "address withdrawn".to_owned(),
    }
}

fn why_reset(reason: ResetReason) -> String {
    let text = match reason {
        ResetReason::Unspecified => "no reason given",
        ResetReason::MptcpError => "Multipath TCP error",
        ResetReason::LackOfResources => "lack of resources",
        ResetReason::Prohibited => "administratively prohibited",
        ResetReason::TooMuchOutstanding => "too much outstanding data",
        ResetReason::UnacceptablePerformance => "unacceptable performance",
        ResetReason::Middlebox => "something on the path interferes",
        other => return format!("{other:?}"),
    };
    text.to_owned()
}

fn why_plain(reason: FallbackReason) -> &'static str {
    match reason {
        FallbackReason::SynAck => "the server did not answer Multipath TCP",
        FallbackReason::Unanswered => "something on the path drops Multipath TCP",
        FallbackReason::OlderVersion => {
            "the server speaks another version (--mptcp-version offers it)"
        }
        FallbackReason::Syn | FallbackReason::ThirdAck => "the handshake was not confirmed",
        FallbackReason::NoMapping => "data came without mappings",
        FallbackReason::NoDataAck => "data was acknowledged without Multipath TCP",
        FallbackReason::Peer => "the server asked for it",
        FallbackReason::Checksum => "a checksum was wrong",
    }
}
