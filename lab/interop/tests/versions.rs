//! Both ends ours, in namespaces: each version of Multipath TCP against each. Linux speaks version 1
//! alone.

use anabranch_interop::connector::Ended;
use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, Scene, Service};

/// Serves `versions` at the end of two links.
fn serving(versions: &str) -> Scene {
    let arguments = ["--versions", versions].map(str::to_owned).to_vec();
    let scene = Scene::new(2, Service::Anabranch(arguments)).unwrap();
    (0..2).for_each(|link| scene.topology.set_rate(link, 200_000_000).unwrap());
    scene
}

fn connect(scene: &Scene, version: u8, seed: u64) -> (Ended, serde_json::Value) {
    let plan = Plan::new(seed, 8 * MIB, 8 * MIB);
    let arguments = format!("--mptcp-version {version} --json");
    let ended = scene.connect(scene.v4(0), &arguments, &plan).unwrap();
    let summary = serde_json::from_str(ended.summary()).expect("JSON");
    (ended, summary)
}

/// Both speak `version`, over both links, with `extra` arguments of the client.
fn speaks(versions: &str, version: u8, extra: &str) {
    let scene = serving(versions);
    let plan = Plan::new(1, 8 * MIB, 8 * MIB);
    let arguments = format!("--mptcp-version {version} {extra} --json");
    let ended = scene.connect(scene.v4(0), &arguments, &plan).unwrap();
    let summary: serde_json::Value = serde_json::from_str(ended.summary()).expect("JSON");
    assert_eq!(summary["protocol"], "mptcp", "{}", ended.log);
    assert_eq!(summary["version"], version, "{}", ended.log);
    assert_eq!(summary["checksum"], extra == "--checksum");
    assert_eq!(summary["subflows"].as_array().map(Vec::len), Some(2));
    let joined = &summary["counters"]["MPTcpExtMPJoinSynAckRx"];
    assert_eq!(joined, 1, "{}", ended.log);
    let server = scene.server.as_ref().unwrap();
    assert_eq!(server.counter("MPTcpExtMPJoinAckRx").unwrap(), 1);
    assert_eq!(server.counter("MPTcpExtMPCapableACKRX").unwrap(), 1);
}

#[test]
fn version_0_with_version_0() {
    if require::lab() {
        speaks("0", 0, "");
        speaks("0", 0, "--checksum");
    }
}

#[test]
fn version_1_with_version_1() {
    if require::lab() {
        speaks("1", 1, "");
        speaks("1", 1, "--checksum");
    }
}

#[test]
fn a_server_of_both_follows_either_client() {
    if require::lab() {
        speaks("all", 0, "");
        speaks("all", 1, "");
    }
}

/// A server that knows less answers with what it knows, or not at all: both go on as plain TCP.
#[test]
fn versions_that_have_nothing_in_common_are_plain_tcp() {
    if !require::lab() {
        return;
    }
    for (versions, version) in [("0", 1), ("1", 0)] {
        let scene = serving(versions);
        let (ended, summary) = connect(&scene, version, 1);
        assert_eq!(summary["protocol"], "tcp", "{}", ended.log);
        assert!(summary["fallback"].is_string(), "{}", ended.log);
        assert_eq!(summary["subflows"].as_array().map(Vec::len), Some(1));
    }
}
