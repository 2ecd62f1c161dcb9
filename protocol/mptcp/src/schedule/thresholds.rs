//! When a path is good enough.

use super::settings::{duration, pairs, percent};
use std::net::IpAddr;
use std::time::Duration;

/// When a path is left, and when it is returned to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thresholds {
    /// Smoothed round-trip time.
    pub srtt: Duration,
    /// Retransmission timeout.
    pub rto: Duration,
    /// Bytes sent again, percent of the last 100 KB sent.
    pub loss: u8,
    /// A preferred path must have been better for so long.
    pub back_after: Duration,
    /// Addresses of either end, the most preferred first: subflows of none of them come after, and
    /// among equals backups after the others.
    pub prefer: Vec<IpAddr>,
}

/// A path with a round trip of 600 ms or a timeout of 1.5 s is left, as Apple's systems do.
impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds {
            srtt: Duration::from_millis(600),
            rto: Duration::from_millis(1500),
            loss: 20,
            back_after: Duration::from_secs(2),
            prefer: Vec::new(),
        }
    }
}

impl Thresholds {
    /// `srtt=600ms,rto=1.5s,loss=20%,back=2s,prefer=ADDR,prefer=ADDR`.
    pub(super) fn parse(text: &str) -> Result<Thresholds, String> {
        let mut thresholds = Thresholds::default();
        for pair in pairs(text) {
            match pair? {
                ("srtt", value) => thresholds.srtt = duration(value)?,
                ("rto", value) => thresholds.rto = duration(value)?,
                ("loss", value) => thresholds.loss = percent(value)?,
                ("back", value) => thresholds.back_after = duration(value)?,
                ("prefer", value) => {
                    let addr = value
                        .parse()
                        .map_err(|_| format!("{value:?} is no address"))?;
                    thresholds.prefer.push(addr);
                }
                (name, _) => {
                    return Err(format!("{name}: expected srtt, rto, loss, back or prefer"));
                }
            }
        }
        Ok(thresholds)
    }
}
