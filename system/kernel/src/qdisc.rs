//! Queues: a rate limit on an interface.

use crate::{Error, Netlink, Result};
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

/// A token bucket filter as a link's root queue: it sends at `rate` and drops what waits longer
/// than the buffer holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenBucket {
    /// Bits per second.
    pub rate: u64,
    /// Bytes that may leave at once; at least one packet, with segmentation offload one super-frame
    /// (64 KB), otherwise the kernel splits them.
    pub burst: u32,
    /// Bytes that may wait.
    pub limit: u32,
}

/// Attributes of `linux/pkt_sched.h`, TCA_TBF_*.
const PARMS: u16 = 1;
const RATE64: u16 = 4;
const BURST: u16 = 6;

/// Unit of the kernel's time in queue parameters, ns (`PSCHED_TICKS2NS`).
const TICK_NS: u64 = 64;

impl Netlink {
    /// Limits what leaves by an interface, in place of its present queue.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this kernel has no token bucket filter.
    pub fn set_rate(&self, name: &str, bucket: TokenBucket) -> Result<()> {
        let what = format!("limit {name} to {} bit/s", bucket.rate);
        if bucket.rate < 8 || bucket.burst == 0 {
            return Err(Error::Invalid(format!(
                "cannot {what}: rate and burst must be positive"
            )));
        }
        let mut message = self.root_queue(name)?;
        message.attributes.push(TcAttribute::Kind("tbf".into()));
        message
            .attributes
            .push(TcAttribute::Options(options(bucket)));
        self.change(
            Message::NewQueueDiscipline(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT) => Error::Unsupported {
                what,
                feature: "sch_tbf",
            },
            _ => Error::net(what, error),
        })
    }

    /// Gives the interface its default queue back.
    ///
    /// # Errors
    /// [`Error::System`] if it has no queue of its own.
    pub fn clear_rate(&self, name: &str) -> Result<()> {
        let message = self.root_queue(name)?;
        self.change(Message::DelQueueDiscipline(message), 0)
            .map_err(|error| Error::net(format!("remove the rate limit of {name}"), error))
    }

    fn root_queue(&self, name: &str) -> Result<TcMessage> {
        let mut message = TcMessage::default();
        message.header.index = self.link(name)?.index as i32;
        message.header.parent = TcHandle::ROOT;
        Ok(message)
    }
}

fn options(bucket: TokenBucket) -> Vec<TcOption> {
    let bytes_per_second = bucket.rate / 8;
    let ticks = u64::from(bucket.burst) * 1_000_000_000 / bytes_per_second / TICK_NS;
    // `struct tc_tbf_qopt`: two `struct tc_ratespec` (rate and peak rate), limit, buffer, mtu.
    let mut parms = ratespec(u32::try_from(bytes_per_second).unwrap_or(u32::MAX)).to_vec();
    parms.extend(ratespec(0));
    parms.extend(bucket.limit.to_ne_bytes());
    parms.extend(u32::try_from(ticks).unwrap_or(u32::MAX).to_ne_bytes());
    parms.extend(0u32.to_ne_bytes());
    let mut options = vec![
        TcOption::Other(DefaultNla::new(PARMS, parms)),
        TcOption::Other(DefaultNla::new(BURST, bucket.burst.to_ne_bytes().to_vec())),
    ];
    if bytes_per_second > u64::from(u32::MAX) {
        let rate = bytes_per_second.to_ne_bytes().to_vec();
        options.push(TcOption::Other(DefaultNla::new(RATE64, rate)));
    }
    options
}

/// `struct tc_ratespec`: cell_log, linklayer (1 is Ethernet), overhead, cell_align, mpu, rate.
fn ratespec(bytes_per_second: u32) -> [u8; 12] {
    let mut spec = [0; 12];
    spec[1] = 1;
    spec[8..].copy_from_slice(&bytes_per_second.to_ne_bytes());
    spec
}
