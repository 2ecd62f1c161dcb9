//! What TCP knows of a subflow, for the control socket.

use anabranch_sockets::{Instant, SubflowInfo};
use std::time::Duration;

use crate::control::Figures;

/// The figures of a subflow at `now`.
pub(super) fn figures(subflow: &SubflowInfo, now: Instant) -> Figures {
    let tcp = &subflow.tcp;
    let (timing, sizes, stats) = (&tcp.timing, &tcp.sizes, &tcp.stats);
    let (flight, windows, rates) = (&tcp.flight, &tcp.windows, &tcp.rates);
    let limited = tcp.limited.at(now);
    let ago = |at: Instant| micros(now.since(at));
    let agreed = [
        ("ts", tcp.agreed.timestamps),
        ("sack", tcp.agreed.sack),
        ("ecn", tcp.agreed.ecn),
    ];
    let agreed = agreed.into_iter().filter(|(_, on)| *on);
    Figures {
        algorithm: tcp.algorithm.to_owned(),
        ca_state: format!("{:?}", tcp.recovery).to_lowercase(),
        options: agreed.map(|(name, _)| name.to_owned()).collect(),
        wscale: tcp.agreed.window_scales,
        retransmits: timing.retransmits,
        probes: timing.probes,
        backoff: timing.backoff,
        rto_us: micros(timing.rto),
        ato_us: micros(timing.ato),
        rtt_us: timing.srtt.map(micros),
        rttvar_us: timing.rttvar.map(micros),
        min_rtt_us: timing.min_rtt.map(micros),
        rcv_rtt_us: timing.rcv_rtt.map(micros),
        snd_mss: sizes.snd_mss,
        rcv_mss: sizes.rcv_mss,
        advmss: sizes.advmss,
        pmtu: subflow.path_mtu(),
        cwnd: windows.cwnd,
        ssthresh: Some(windows.ssthresh).filter(|bytes| *bytes != u64::MAX),
        snd_wnd: windows.snd_wnd,
        rcv_wnd: windows.rcv_wnd,
        unacked: flight.unacked,
        sacked: flight.sacked,
        lost: flight.lost,
        retrans: flight.retrans,
        notsent: flight.notsent,
        last_data_sent_us: ago(tcp.seen.data_sent),
        last_data_recv_us: ago(tcp.seen.data_received),
        last_ack_recv_us: ago(tcp.seen.ack_received),
        pacing_rate: rates.pacing,
        max_pacing_rate: rates.max_pacing,
        delivery_rate: rates.delivery,
        delivery_rate_app_limited: rates.delivery_app_limited,
        delivered: rates.delivered,
        busy_us: micros(limited.busy),
        rwnd_limited_us: micros(limited.peer_window),
        sndbuf_limited_us: micros(limited.send_buffer),
        bytes_sent: stats.bytes_out,
        bytes_retrans: stats.bytes_retransmitted,
        bytes_acked: stats.bytes_acked,
        bytes_received: stats.bytes_in,
        segs_out: stats.segments_out,
        segs_in: stats.segments_in,
        data_segs_out: stats.data_segments_out,
        data_segs_in: stats.data_segments_in,
        total_retrans_segments: stats.retransmits,
        total_rto: stats.rtos,
        total_rto_recoveries: stats.rto_recoveries,
        total_rto_time_us: micros(stats.rto_time),
        reordering: flight.reordering,
        reord_seen: flight.reorderings,
        dsack_dups: stats.dsacks,
        rcv_ooopack: stats.out_of_order,
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
