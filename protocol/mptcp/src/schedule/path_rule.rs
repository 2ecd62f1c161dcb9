//! What people say of a path.

use super::settings::{bytes, number};
use std::net::IpAddr;

/// What holds for the subflows of an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathRule {
    /// Either end has this address; `None`: any.
    pub addr: Option<IpAddr>,
    /// Share of what is sent, relative to the other weights of its class; 0: nothing.
    pub weight: u32,
    /// Cost class: one with a higher number is used only while none with a lower one can be.
    pub class: u8,
    /// Payload bytes that may be sent by this rule, those sent again included; `None`: any number.
    /// The run that reaches it is the last.
    pub quota: Option<u64>,
    /// Payload bytes per second by this rule; `None`: as the network allows.
    pub rate: Option<u64>,
}

impl Default for PathRule {
    fn default() -> PathRule {
        PathRule {
            addr: None,
            weight: 1,
            class: 0,
            quota: None,
            rate: None,
        }
    }
}

impl PathRule {
    /// `ADDR weight=3 class=1 quota=1G rate=5M`, with `*` for any address.
    pub(super) fn parse(text: &str) -> Result<PathRule, String> {
        let mut words = text.split_whitespace();
        let any = |_| "expected an address, or * for any, before its settings".to_owned();
        let addr = match words.next().unwrap_or("*") {
            "*" => None,
            addr => Some(addr.parse().map_err(any)?),
        };
        let mut rule = PathRule {
            addr,
            ..PathRule::default()
        };
        for word in words {
            match word.split_once('=') {
                Some(("weight", value)) => rule.weight = number(value)?,
                Some(("class", value)) => rule.class = number(value)?,
                Some(("quota", value)) => rule.quota = Some(bytes(value)?),
                Some(("rate", value)) => rule.rate = Some(bytes(value)?),
                _ => {
                    return Err(format!(
                        "{word:?}: expected weight=, class=, quota= or rate="
                    ));
                }
            }
        }
        Ok(rule)
    }
}
