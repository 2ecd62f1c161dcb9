//! Clients without MPTCP, and paths that take it away: the service works all the same.

use anabranch_interop::counters::CLEAN;
use anabranch_interop::exchange::Plan;
use anabranch_interop::fault::{Fault, Strip};
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, Scene};
use anabranch_interop::socket::Protocol;

#[test]
fn a_client_of_plain_tcp() {
    if !require::lab() {
        return;
    }
    let scene = Scene::joined(2).unwrap();
    for (seed, to) in [(1, scene.v4(0)), (2, scene.v6(0))] {
        let plan = Plan::new(seed, 32 * MIB, 32 * MIB);
        let transfer = scene.transfer_by(Protocol::Tcp, None, to, &plan).unwrap();
        let mptcp = transfer.counters.with_prefix("MPTcpExt");
        assert!(mptcp.is_empty(), "plain TCP met MPTCP: {mptcp:?}");
        assert_eq!(transfer.counters.get("TcpActiveOpens"), 1);
    }
}

/// The handshake loses its options, or everything after it does.
fn stripped(strip: Strip, counter: &str) {
    let scene = Scene::joined(2).unwrap();
    let _fault = Fault::strip(&scene.topology.server, strip).unwrap();
    let transfer = scene
        .transfer(scene.v4(0), &Plan::new(3, 8 * MIB, 8 * MIB))
        .unwrap();
    assert_eq!(transfer.counters.nonzero(CLEAN), [(counter, 1)]);
    assert_eq!(transfer.counters.get("MPTcpExtMPJoinSynTx"), 0);
}

#[test]
fn mp_capable_stripped_from_the_syn() {
    if require::lab() {
        stripped(Strip::Syn, "MPTcpExtMPCapableFallbackSYNACK");
    }
}

#[test]
fn mp_capable_stripped_from_the_syn_ack() {
    if require::lab() {
        stripped(Strip::SynAck, "MPTcpExtMPCapableFallbackSYNACK");
    }
}

#[test]
fn options_stripped_from_all_the_client_sends_after_the_syn() {
    if require::lab() {
        stripped(Strip::AfterSyn, "MPTcpExtMPCapableDataFallback");
    }
}

#[test]
fn options_stripped_from_everything() {
    if require::lab() {
        stripped(Strip::All, "MPTcpExtMPCapableFallbackSYNACK");
    }
}
