//! `struct tcp_info`.

use crate::world::World;
use anabranch_cabi::Result;
use anabranch_stack::FlowId;
use anabranch_tcp::{Instant, State, Tcb};
use std::os::fd::RawFd;
use std::time::Duration;

/// Numbers of states as Linux has them.
const LISTEN: u8 = 10;
const CLOSE: u8 = 7;
/// Slow start threshold before the first loss, segments.
const INFINITE_SSTHRESH: u64 = 0x7fff_ffff;

pub(crate) fn state_number(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => CLOSE,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Closing => 11,
    }
}

/// Fields, one after the other, in C's layout.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    fn u32(&mut self, value: impl TryInto<u32>) -> &mut Self {
        let value = value.try_into().unwrap_or(u32::MAX);
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    fn micros(&mut self, time: Duration) -> &mut Self {
        self.u32(time.as_micros())
    }

    fn millis(&mut self, time: Duration) -> &mut Self {
        self.u32(time.as_millis())
    }
}

impl World {
    /// `getsockopt(TCP_INFO)`.
    pub(crate) fn tcp_info(&mut self, fd: RawFd) -> Result<Vec<u8>> {
        let now = self.now;
        let listening = matches!(self.socket(fd)?.role, crate::socket::Role::Listener { .. });
        let flow = self.socket(fd)?.flow();
        let mut fields = Fields::default();
        match flow.and_then(|flow| Some((flow, self.stack.tcb(flow)?))) {
            Some((flow, tcb)) => self.fill(&mut fields, now, flow, tcb),
            None => {
                fields.u8(if listening { LISTEN } else { CLOSE });
            }
        }
        fields.0.resize(LEN, 0);
        Ok(fields.0)
    }

    fn fill(&self, fields: &mut Fields, now: Instant, flow: FlowId, tcb: &Tcb) {
        let mss = u64::from(tcb.mss());
        let segments = |bytes: u64| bytes.div_ceil(mss);
        let stats = tcb.stats();
        let options = u8::from(tcb.timestamps()) | (u8::from(tcb.sack()) << 1);
        let ssthresh = match tcb.ssthresh() {
            u64::MAX => INFINITE_SSTHRESH,
            bytes => bytes / mss,
        };
        let unread = self.stack.info(flow).map_or(0, |info| info.recv_queue);
        let since = |at: Instant| now.since(at);
        fields
            .u8(state_number(tcb.state()))
            .u8(0)
            .u8(tcb.rto_streak() as u8)
            .u8(0)
            .u8(tcb.rto_streak() as u8)
            .u8(options)
            .u8(0)
            .u8(0)
            .micros(tcb.rto())
            .u32(40_000_u32)
            .u32(tcb.mss())
            .u32(536_u32)
            .u32(segments(tcb.snd_nxt() - tcb.snd_una()))
            .u32(0_u32)
            .u32(0_u32)
            .u32(0_u32)
            .u32(0_u32)
            .u32(0_u32)
            .u32(0_u32)
            .millis(since(tcb.last_received()))
            .millis(since(tcb.last_received()))
            .u32(1500_u32)
            .u32(65_535_u32)
            .micros(tcb.srtt().unwrap_or_default())
            .micros(tcb.rttvar().unwrap_or_default())
            .u32(ssthresh)
            .u32(tcb.cwnd() / mss)
            .u32(1460_u32)
            .u32(3_u32)
            .u32(0_u32)
            .u32(unread)
            .u32(stats.retransmits)
            .u64(0)
            .u64(u64::MAX)
            .u64(stats.bytes_acked)
            .u64(stats.bytes_in)
            .u32(stats.segments_out)
            .u32(stats.segments_in)
            .u32(tcb.unsent())
            .micros(tcb.min_rtt().unwrap_or_default());
    }
}

/// Bytes of the structure as Linux 6.18 has it.
const LEN: usize = 280;
