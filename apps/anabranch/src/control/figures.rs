//! What TCP knows of one connection, as it goes over the control socket.

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The fields of Linux's `struct tcp_info`, by its names. Times are microseconds, sizes bytes
/// unless their name says segments, rates bytes per second.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
#[allow(
    missing_docs,
    reason = "they are Linux's names; docs/sockets.md has them all"
)]
pub struct Figures {
    pub algorithm: String,
    pub ca_state: String,
    /// `ts`, `sack`, `ecn`, as agreed.
    pub options: Vec<String>,
    /// Shifts of the peer's window field and of ours.
    pub wscale: Option<(u8, u8)>,
    pub retransmits: u32,
    pub probes: u32,
    pub backoff: u32,
    pub rto_us: u64,
    pub ato_us: u64,
    pub rtt_us: Option<u64>,
    pub rttvar_us: Option<u64>,
    pub min_rtt_us: Option<u64>,
    pub rcv_rtt_us: Option<u64>,
    pub snd_mss: u32,
    pub rcv_mss: u32,
    pub advmss: u32,
    pub pmtu: u32,
    pub cwnd: u64,
    pub ssthresh: Option<u64>,
    pub snd_wnd: u64,
    pub rcv_wnd: u64,
    pub unacked: u64,
    pub sacked: u64,
    pub lost: u64,
    pub retrans: u64,
    pub notsent: u64,
    pub last_data_sent_us: u64,
    pub last_data_recv_us: u64,
    pub last_ack_recv_us: u64,
    pub pacing_rate: Option<u64>,
    pub max_pacing_rate: Option<u64>,
    pub delivery_rate: Option<u64>,
    pub delivery_rate_app_limited: bool,
    pub delivered: u64,
    pub busy_us: u64,
    pub rwnd_limited_us: u64,
    pub sndbuf_limited_us: u64,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub segs_out: u64,
    pub segs_in: u64,
    pub data_segs_out: u64,
    pub data_segs_in: u64,
    pub total_retrans_segments: u64,
    pub total_rto: u32,
    pub total_rto_recoveries: u32,
    pub total_rto_time_us: u64,
    pub reordering: u64,
    pub reord_seen: u32,
    pub dsack_dups: u32,
    pub rcv_ooopack: u64,
}

impl Figures {
    /// One line, in the words of `ss -i`.
    pub fn line(&self) -> String {
        let mut line = self.options.iter().fold(String::new(), |mut line, option| {
            let _ = write!(line, "{option} ");
            line
        });
        line.push_str(&self.algorithm);
        let mut word = |name: &str, value: &dyn std::fmt::Display| {
            let _ = write!(line, " {name}:{value}");
        };
        if let Some((snd, rcv)) = self.wscale {
            word("wscale", &format_args!("{snd},{rcv}"));
        }
        word("rto", &ms(self.rto_us));
        if let (Some(rtt), Some(var)) = (self.rtt_us, self.rttvar_us) {
            word("rtt", &format_args!("{}/{}", ms(rtt), ms(var)));
        }
        word("ato", &ms(self.ato_us));
        word("mss", &self.snd_mss);
        word("pmtu", &self.pmtu);
        word("rcvmss", &self.rcv_mss);
        word("advmss", &self.advmss);
        word("cwnd", &(self.cwnd / u64::from(self.snd_mss.max(1))));
        self.optional(&mut word);
        line
    }

    /// What `ss` leaves out while it is nothing.
    fn optional(&self, word: &mut dyn FnMut(&str, &dyn std::fmt::Display)) {
        let counts = [
            (
                "ssthresh",
                self.ssthresh.unwrap_or(0) / u64::from(self.snd_mss.max(1)),
            ),
            ("backoff", self.backoff.into()),
            ("bytes_sent", self.bytes_sent),
            ("bytes_retrans", self.bytes_retrans),
            ("bytes_acked", self.bytes_acked),
            ("bytes_received", self.bytes_received),
            ("segs_out", self.segs_out),
            ("segs_in", self.segs_in),
            ("data_segs_out", self.data_segs_out),
            ("data_segs_in", self.data_segs_in),
            ("pacing_rate", self.pacing_rate.unwrap_or(0)),
            ("max_pacing_rate", self.max_pacing_rate.unwrap_or(0)),
            ("delivery_rate", self.delivery_rate.unwrap_or(0)),
            ("delivered", self.delivered),
            ("unacked", self.unacked),
            ("retrans", self.retrans),
            ("retrans_total", self.total_retrans_segments),
            ("lost", self.lost),
            ("sacked", self.sacked),
            ("reordering", self.reordering),
            ("reord_seen", self.reord_seen.into()),
            ("dsack_dups", self.dsack_dups.into()),
            ("rcv_ooopack", self.rcv_ooopack),
            ("notsent", self.notsent),
            ("snd_wnd", self.snd_wnd),
            ("rcv_wnd", self.rcv_wnd),
        ];
        for (name, value) in counts.into_iter().filter(|(_, value)| *value > 0) {
            word(name, &value);
        }
        let times = [
            ("lastsnd", self.last_data_sent_us),
            ("lastrcv", self.last_data_recv_us),
            ("lastack", self.last_ack_recv_us),
            ("busy", self.busy_us),
            ("rwnd_limited", self.rwnd_limited_us),
            ("sndbuf_limited", self.sndbuf_limited_us),
            ("rcv_rtt", self.rcv_rtt_us.unwrap_or(0)),
            ("minrtt", self.min_rtt_us.unwrap_or(0)),
        ];
        for (name, us) in times.into_iter().filter(|(_, us)| *us > 0) {
            word(name, &ms(us));
        }
        if self.delivery_rate_app_limited {
            word("app_limited", &1);
        }
    }
}

/// Milliseconds, with the fraction that matters.
fn ms(us: u64) -> String {
    match us % 1000 {
        0 => (us / 1000).to_string(),
        rest => format!("{}.{rest:03}", us / 1000)
            .trim_end_matches('0')
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_words_of_ss() {
        let figures = Figures {
            algorithm: "cubic".into(),
            options: vec!["ts".into(), "sack".into()],
            wscale: Some((8, 7)),
            rto_us: 204_000,
            rtt_us: Some(1250),
            rttvar_us: Some(500),
            ato_us: 40_000,
            snd_mss: 1448,
            pmtu: 1500,
            rcv_mss: 536,
            advmss: 1448,
            cwnd: 14_480,
            bytes_sent: 7000,
            busy_us: 3000,
            ..Figures::default()
        };
        assert_eq!(
            figures.line(),
            "ts sack cubic wscale:8,7 rto:204 rtt:1.25/0.5 ato:40 mss:1448 pmtu:1500 rcvmss:536 \
             advmss:1448 cwnd:10 bytes_sent:7000 busy:3"
        );
    }
}
