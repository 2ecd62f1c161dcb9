//! `[[scheduling]]`: what some connections get of schedulers, congestion control and steering, as
//! `serve --rule` says it.

use std::net::IpAddr;

use anabranch_paths::Prefix;
use anabranch_stack::{Congestion, Rule, Scheduler, Steering, Which};
use serde::Deserialize;
use toml::Spanned;

use super::super::units::Text;
use super::Wrong;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct SchedulingTable {
    peer: Option<Text<Prefix>>,
    peer_port: Option<u16>,
    local: Option<Text<IpAddr>>,
    port: Option<u16>,
    dscp: Option<Spanned<u8>>,
    scheduler: Option<Text<Scheduler>>,
    congestion: Option<Text<Congestion>>,
    steer: Option<Text<Steering>>,
}

impl SchedulingTable {
    pub(super) fn rule(table: Spanned<SchedulingTable>) -> Result<Rule, Wrong> {
        let span = table.span();
        let table = table.into_inner();
        if let Some(dscp) = table.dscp.as_ref().filter(|dscp| *dscp.get_ref() > 63) {
            return Err((dscp.span(), "expected 0 to 63".into()));
        }
        let rule = Rule {
            which: Which {
                local: table.local.map(|Text(addr)| addr),
                port: table.port,
                peer: table.peer.map(|Text(peer)| (peer.addr(), peer.len())),
                peer_port: table.peer_port,
                dscp: table.dscp.map(Spanned::into_inner),
            },
            scheduler: table.scheduler.map(|Text(kind)| kind),
            congestion: table.congestion.map(|Text(kind)| kind),
            steering: table.steer.map(|Text(steering)| steering),
        };
        let says = rule.scheduler.is_some() || rule.congestion.is_some();
        if !says && rule.steering.is_none() {
            let reason = "says nothing: give scheduler, congestion or steer";
            return Err((span, reason.into()));
        }
        Ok(rule)
    }
}
