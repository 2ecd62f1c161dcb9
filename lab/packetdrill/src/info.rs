//! `struct tcp_info`.

use crate::world::World;
use anabranch_cabi::Result;
use anabranch_tcp::info::{Info, Recovery};
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

    fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend(value.to_ne_bytes());
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
        match flow.and_then(|flow| self.stack.tcb(flow)) {
            Some(tcb) => self.fill(&mut fields, now, &tcb),
            None => {
                fields.u8(if listening { LISTEN } else { CLOSE });
            }
        }
        fields.0.resize(LEN, 0);
        Ok(fields.0)
    }

    fn fill(&self, fields: &mut Fields, now: Instant, tcb: &Tcb) {
        let info = tcb.info();
        state_and_options(fields, &info, tcb);
        segments(fields, now, &info);
        metrics(fields, &info);
        counters(fields, now, &info, tcb);
    }
}

fn state_and_options(fields: &mut Fields, info: &Info, tcb: &Tcb) {
    let agreed = &info.agreed;
    let (send, receive) = agreed.window_scales.unwrap_or_default();
    let syn_data = if agreed.passive {
        tcb.is_fast_open() && info.stats.bytes_in > 0
    } else {
        tcb.fast_open_outcome()
            .is_some_and(|outcome| outcome.sent > 0 && outcome.accepted == outcome.sent)
    };
    let options = u8::from(agreed.timestamps)
        | u8::from(agreed.sack) << 1
        | u8::from(agreed.window_scales.is_some()) << 2
        | u8::from(agreed.ecn) << 3
        | u8::from(syn_data) << 5;
    let recovery = match info.recovery {
        Recovery::Open => 0,
        Recovery::Disorder => 1,
        Recovery::Recovery => 3,
        Recovery::Loss => 4,
    };
    fields
        .u8(state_number(info.state))
        .u8(recovery)
        .u8(info.timing.retransmits as u8)
        .u8(info.timing.probes as u8)
        .u8(info.timing.backoff as u8)
        .u8(options)
        .u8(send | receive << 4)
        .u8(info.rates.delivery_app_limited.into())
        .micros(info.timing.rto)
        .micros(info.timing.ato)
        .u32(info.sizes.snd_mss)
        .u32(info.sizes.rcv_mss);
}

fn segments(fields: &mut Fields, now: Instant, info: &Info) {
    let flight = &info.flight;
    fields
        .u32(info.segments(flight.unacked))
        .u32(info.segments(flight.sacked))
        // Linux counts what is lost until it is acknowledged, sent again or not.
        .u32(info.segments(flight.lost + flight.retrans))
        .u32(info.segments(flight.retrans))
        .u32(0_u32)
        .millis(now.since(info.seen.data_sent))
        .u32(0_u32)
        .millis(now.since(info.seen.data_received))
        .millis(now.since(info.seen.ack_received));
}

fn metrics(fields: &mut Fields, info: &Info) {
    let mss = u64::from(info.sizes.snd_mss);
    let ssthresh = match info.windows.ssthresh {
        u64::MAX => INFINITE_SSTHRESH,
        bytes => bytes / mss,
    };
    fields
        .u32(info.sizes.path_mss + 40)
        .u32(info.windows.rcv_wnd)
        .micros(info.timing.srtt.unwrap_or_default())
        .micros(info.timing.rttvar.unwrap_or_default())
        .u32(ssthresh)
        .u32(info.windows.cwnd / mss)
        .u32(info.sizes.advmss)
        .u32(info.segments(info.flight.reordering).max(3))
        .u32(0_u32)
        .u32(0_u32)
        .u32(info.stats.retransmits);
}

fn counters(fields: &mut Fields, now: Instant, info: &Info, tcb: &Tcb) {
    let limited = info.limited.at(now);
    let (stats, rates) = (&info.stats, &info.rates);
    // Linux counts the SYN as delivered, with whatever it carried.
    let outcome = tcb.fast_open_outcome();
    let early = outcome
        .map_or(0, |outcome| outcome.accepted)
        .min(rates.delivered);
    let syn = u32::from(tcb.is_synchronized());
    fields
        .u64(rates.pacing.unwrap_or(u64::MAX))
        .u64(rates.max_pacing.unwrap_or(u64::MAX))
        .u64(stats.bytes_acked)
        .u64(stats.bytes_in)
        .u32(stats.segments_out)
        .u32(stats.segments_in)
        .u32(info.flight.notsent)
        .micros(info.timing.min_rtt.unwrap_or_default())
        .u32(stats.data_segments_in)
        .u32(stats.data_segments_out)
        .u64(rates.delivery.unwrap_or_default())
        .u64(limited.busy.as_micros() as u64)
        .u64(limited.peer_window.as_micros() as u64)
        .u64(limited.send_buffer.as_micros() as u64)
        .u32(info.segments(rates.delivered - early) + syn)
        .u32(0_u32)
        .u64(stats.bytes_out)
        .u64(stats.bytes_retransmitted)
        .u32(stats.dsacks)
        .u32(info.flight.reorderings)
        .u32(stats.out_of_order)
        .u32(info.windows.snd_wnd)
        .u32(info.windows.rcv_wnd)
        .u32(0_u32)
        .u16(stats.rtos as u16)
        .u16(stats.rto_recoveries as u16)
        .millis(stats.rto_time);
}

/// Bytes of the structure as Linux 6.18 has it.
const LEN: usize = 280;
