//! Plain TCP between two hosts.

use crate::pair::*;
use anabranch_stack::{
    CloseReason, Config, ConnectConfig, Counter, Event, FlowError, ListenConfig, Protocol, Recv,
    State,
};
use std::time::Duration;

const PLAIN: ConnectConfig = ConnectConfig {
    mptcp: false,
    fast_open: false,
};

fn pair() -> Pair {
    Pair::new(
        Config::default(),
        Config {
            gso_max: 65_000,
            ..Config::default()
        },
    )
}

#[test]
fn connect_transfer_and_close() {
    for (client, server) in [
        ("10.0.0.1:0", "10.0.0.2:80"),
        ("[fd00::1]:0", "[fd00::2]:80"),
    ] {
        let mut pair = pair();
        let listener = pair.listen();
        let (c, s) = pair.connect(listener, addr(client), addr(server), false);
        assert!(pair.has(A, &Event::Established(c)));
        assert!(pair.has(B, &Event::Accepted(listener)));

        let data = pattern(3_000_000);
        pair.transfer((A, c), (B, s), &data);
        pair.transfer((B, s), (A, c), &data);

        pair.a.shutdown(pair.now, c);
        pair.run_until("the end arrives", |pair| pair.has(B, &Event::PeerFin(s)));
        assert_eq!(pair.b.recv(pair.now, s, 1), Ok(Recv::Finished));
        assert_eq!(
            pair.a.send(pair.now, c, pattern(1)),
            Err(FlowError::ShutDown)
        );

        pair.b.shutdown(pair.now, s);
        pair.run_until("both are closed", |pair| {
            pair.has(A, &Event::Closed(c, CloseReason::Finished))
                && pair.has(B, &Event::Closed(s, CloseReason::Finished))
        });
        assert_eq!(pair.a.recv(pair.now, c, 1), Ok(Recv::Finished));
        assert_eq!(
            pair.count(A, Counter::TcpOutRsts) + pair.count(B, Counter::TcpOutRsts),
            0
        );
    }
}

#[test]
fn half_closed_the_other_way_goes_on() {
    let mut pair = pair();
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
    pair.a.shutdown(pair.now, c);
    pair.run_until("the end arrives", |pair| pair.has(B, &Event::PeerFin(s)));
    pair.transfer((B, s), (A, c), &pattern(500_000));
    assert_eq!(pair.b.info(s).unwrap().state, State::CloseWait);
    assert_eq!(pair.a.info(c).unwrap().state, State::FinWait2);
}

#[test]
fn a_released_connection_delivers_and_closes_in_the_background() {
    let mut pair = pair();
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
    let data = pattern(100_000);
    assert_eq!(pair.a.send(pair.now, c, data.clone()), Ok(data.len()));
    pair.a.release(pair.now, c);
    assert_eq!(
        pair.a.send(pair.now, c, pattern(1)),
        Err(FlowError::NoSuchFlow)
    );
    let mut got = Vec::new();
    pair.run_until("everything arrived", |pair| {
        read(pair, (B, s), &mut got);
        pair.has(B, &Event::PeerFin(s))
    });
    read(&mut pair, (B, s), &mut got);
    assert!(got == data[..]);
    pair.b.release(pair.now, s);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.a.connections().count(), 0, "only TIME-WAIT is left");
    assert_eq!(pair.a.time_waits(), 1);
    assert_eq!(pair.b.connections().count(), 0);
    assert_eq!(
        pair.a.memory() + pair.b.memory(),
        0,
        "all memory is given back"
    );
    pair.run(Duration::from_secs(61));
    assert_eq!(pair.a.time_waits(), 0);
    assert_eq!((pair.a.deadline(), pair.b.deadline()), (None, None));
}

#[test]
fn an_aborted_connection_resets_the_peer() {
    let mut pair = pair();
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
    pair.a.abort(pair.now, c);
    pair.run_until("reset", |pair| {
        pair.has(B, &Event::Closed(s, CloseReason::Reset))
    });
    assert!(pair.has(A, &Event::Closed(c, CloseReason::Aborted)));
    assert_eq!(
        pair.b.recv(pair.now, s, 1),
        Ok(Recv::Closed(CloseReason::Reset))
    );
    assert_eq!(pair.count(B, Counter::TcpEstabResets), 1);
    pair.a.release(pair.now, c);
    pair.b.release(pair.now, s);
    pair.settle();
    assert_eq!(
        pair.a.connections().count() + pair.b.connections().count(),
        0
    );
}

#[test]
fn nobody_listens_and_the_connection_is_refused() {
    let mut pair = pair();
    let c = pair
        .a
        .connect(pair.now, addr("10.0.0.1:0"), addr("10.0.0.2:81"), PLAIN)
        .unwrap();
    pair.run_until("refused", |pair| {
        pair.has(A, &Event::Closed(c, CloseReason::Refused))
    });
}

#[test]
fn a_closed_listener_resets_whom_nobody_accepted_and_keeps_the_rest() {
    let mut pair = pair();
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
    let waiting = pair
        .a
        .connect(pair.now, addr("10.0.0.1:0"), addr("10.0.0.2:80"), PLAIN)
        .unwrap();
    pair.run(Duration::from_secs(1));
    pair.b.close_listener(pair.now, listener);
    pair.run_until("reset", |pair| {
        pair.has(A, &Event::Closed(waiting, CloseReason::Reset))
    });
    assert_eq!(pair.b.accept(listener), None);
    pair.transfer((A, c), (B, s), &pattern(10_000));
}

#[test]
fn an_established_connection_runs_no_multipath_code() {
    let mut pair = pair();
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
    pair.transfer((A, c), (B, s), &pattern(200_000));
    pair.transfer((B, s), (A, c), &pattern(200_000));
    pair.a.release(pair.now, c);
    pair.b.release(pair.now, s);
    pair.run(Duration::from_secs(70));
    for host in [&pair.a, &pair.b] {
        let multipath: Vec<_> = counted(host)
            .into_iter()
            .filter(|(name, _)| name.to_lowercase().contains("mptcp"))
            .collect();
        assert_eq!(multipath, []);
    }
    assert!(
        pair.sent(A)
            .iter()
            .chain(&pair.sent(B))
            .all(|packet| packet.mptcp.is_empty())
    );
}

#[test]
fn a_listener_without_multipath_answers_a_multipath_syn_with_plain_tcp() {
    let mut pair = pair();
    let plain = ListenConfig {
        mptcp: false,
        ..ListenConfig::port(PORT)
    };
    let listener = pair.b.listen(plain).unwrap();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
    assert_eq!(pair.b.info(s).unwrap().protocol, Protocol::Tcp);
    pair.transfer((A, c), (B, s), &pattern(200_000));
    assert_eq!(pair.count(B, Counter::MptcpCalls), 0);
}

#[test]
fn super_frames_are_cut_to_the_segment_size() {
    let mut pair = pair();
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
    pair.transfer((B, s), (A, c), &pattern(1_000_000));
    let largest = pair.log.iter().map(|(_, packet)| packet.len()).max();
    assert_eq!(largest, Some(1500));
    let segments = pair.sent(B).len() as u64;
    assert_eq!(pair.count(B, Counter::TcpOutSegs), segments);
    assert!(
        pair.count(B, Counter::FlowsVisited) < segments / 4,
        "few visits for many segments"
    );
}

#[test]
fn two_connections_of_one_port_pair_do_not_exist_at_once() {
    let mut pair = pair();
    let (local, remote) = (addr("10.0.0.1:4000"), addr("10.0.0.2:80"));
    pair.a.connect(pair.now, local, remote, PLAIN).unwrap();
    let again = pair.a.connect(pair.now, local, remote, PLAIN);
    assert_eq!(again, Err(anabranch_stack::ConnectError::InUse));
    let mixed = pair.a.connect(pair.now, local, addr("[fd00::1]:80"), PLAIN);
    assert_eq!(mixed, Err(anabranch_stack::ConnectError::Address));
}

#[test]
fn urgent_pointers_that_point_anywhere_do_no_harm() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
    let mut pointer = 0u16;
    pair.filter = Some(Box::new(move |_, mut transmit| {
        let tcp = usize::from(transmit.ip_len);
        pointer = pointer.wrapping_mul(31).wrapping_add(7);
        transmit.header[tcp + 13] |= 0x20;
        transmit.header[tcp + 18..tcp + 20].copy_from_slice(&pointer.to_be_bytes());
        Some(transmit)
    }));
    pair.transfer((A, c), (B, s), &pattern(200_000));
    pair.transfer((B, s), (A, c), &pattern(200_000));
}
