//! Handshakes of which nothing was kept but what comes back with their third ACK: SYN cookies
//! (RFC 4987 §3.6; RFC 8684 §3.1 has the third ACK repeat the acceptor's key for their sake).

use crate::config::{Config, Path, Start};
use crate::connection::Connection;
use crate::handshake::{Handshake, Role};
use crate::keys::LocalKey;
use crate::subflow::tcb_config;
use anabranch_tcp::{Instant, Segment, SynAck, Tcb};
use anabranch_wire::mptcp::Capable;
use std::sync::Arc;

impl Connection {
    /// What answers a SYN with MP_CAPABLE, as [`Connection::accept_with`] and its first segment
    /// would without a Fast Open cookie, and the MP_CAPABLE of it; `None`: it cannot be followed.
    pub fn answer<'a>(
        config: &'a Config,
        key: LocalKey,
        syn: &'a Segment,
        capable: &Capable,
        start: &Start,
    ) -> Option<(SynAck<'a>, Capable)> {
        let version = config.versions.answer(capable)?;
        let mut handshake = Handshake::new(Role::Acceptor, version, key, config);
        handshake.agree(&capable.flags());
        let most = config.tcp.socket.max_segment.unwrap_or(u16::MAX);
        let syn_ack = SynAck {
            config: &config.tcp,
            mss: most.min(start.mss),
            syn,
            iss: start.iss,
            ts_offset: start.ts_offset,
            rcv_room: config.initial_window.min(config.tcp.recv_buffer),
        };
        Some((syn_ack, handshake.syn_ack()))
    }

    /// [`Connection::accept`], where the SYN+ACK left long ago: `syn` and `capable` are what the
    /// peer's SYN must have been, `key` and `start.iss` what the SYN+ACK had. The third ACK, or
    /// the first data, follows with [`Connection::on_segment`].
    pub fn resume(
        now: Instant,
        config: &Arc<Config>,
        key: u64,
        path: Path,
        syn: &Segment,
        capable: &Capable,
        start: Start,
    ) -> Connection {
        let mut connection = Connection::accept(now, config, key, path, syn, capable, start);
        let grant = connection.grant(0);
        let tcp = tcb_config(&config.tcp, &start);
        let tcb = Tcb::resume(now, &tcp, syn, start.iss, start.ts_offset, grant);
        connection.paths.list[0].tcb = tcb;
        connection
    }
}
