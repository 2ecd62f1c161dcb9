//! What people ask of it.

use std::net::IpAddr;

use anabranch_interop::require;
use anabranch_interop::watcher::Watcher;
use anabranch_kernel::mptcp::sockets;
use serde_json::Value;

use crate::world::{World, eventually};

#[test]
fn it_is_asked_in_the_words_of_ip_mptcp() {
    if !require::lab() {
        return;
    }
    let world = World::new(2);
    let pm = world.manage(&["--policy", "one-each"]);
    let asked = |words: &[&str]| pm.command(words);
    assert_eq!(
        asked(&["limits", "show"]).unwrap(),
        "add_addr_accepted 32 subflows 7\n"
    );
    let _connection = world.connect();
    let both = [world.v4(0), world.v4(1)];
    world.await_subflows("a second subflow", &both);
    let second = world.on_client(|| sockets::subflows().unwrap());
    let second = second.iter().find(|it| it.joined).unwrap();
    let token = format!("{:08x}", second.token);
    let (local, remote) = (second.local.to_string(), second.remote.to_string());
    // Closed by hand, it stays closed; and is opened by hand again.
    let there = ["token", &token, "local", &local, "remote", &remote];
    asked(&[&["subflow", "remove"], &there[..]].concat()).unwrap();
    world.await_subflows("the subflow ends", &both[..1]);
    let from = second.local.ip().to_string();
    let again = ["token", &token, "local", &from, "remote", &remote];
    asked(&[&["subflow", "add"], &again[..]].concat()).unwrap();
    world.await_subflows("the subflow again", &both);
    asked(&["limits", "set", "subflows", "0"]).unwrap();
    eventually("one too many", || {
        (world.subflows().len() == 1).then_some(())
    });
    let nobody = ["token", "1", "local", &local, "remote", &remote];
    let unknown = asked(&[&["subflow", "remove"], &nobody[..]].concat()).unwrap_err();
    assert!(unknown.to_string().contains("token"), "{unknown}");
}

/// Whether one of the lines tells of each of these, in this order.
fn has_all(printed: &str, events: &[&str]) -> bool {
    let mut rest = printed;
    events.iter().all(|event| {
        let found = rest.split_once(event);
        rest = found.map_or("", |(_, after)| after);
        found.is_some()
    })
}

/// Lines of `--json`.
fn events(printed: &str) -> Vec<Value> {
    let event = |line| serde_json::from_str::<Value>(line).unwrap()["event"].take();
    printed.lines().map(event).collect()
}

/// Whether a connection is told of from its beginning to its end, with a subflow from `second`.
fn has_whole(events: &[Value], second: IpAddr) -> bool {
    let from = format!("{second}:");
    let of = |token: &Value, event: &str| {
        let mut same = events.iter().filter(|it| it["token"] == *token);
        same.any(|it| it["event"] == event)
    };
    events.iter().any(|joined| {
        let local = joined["local"].as_str().unwrap_or_default();
        let all = ["created", "established", "closed"];
        joined["event"] == "sf_established"
            && local.starts_with(&from)
            && all.iter().all(|event| of(&joined["token"], event))
    })
}

#[test]
fn the_monitor_tells_of_a_connection_from_its_beginning_to_its_end() {
    if !require::lab() {
        return;
    }
    let world = World::new(2);
    let _pm = world.manage(&["--policy", "one-each"]);
    let both = [world.v4(0), world.v4(1)];
    let live = || {
        let connection = world.connect();
        world.await_subflows("a second subflow", &both);
        drop(connection);
    };
    let folder = world.folder.path();
    let watcher = |name: &str, further: &[&str]| {
        Watcher::start(&folder.join("pm.sock"), folder.join(name), further).unwrap()
    };
    let told = [
        "CREATED]",
        "ESTABLISHED]",
        "SF_ESTABLISHED]",
        "CLOSED] token",
    ];
    watcher("words", &[]).watch(live, |printed| has_all(printed, &told));
    watcher("json", &["--json"]).watch(live, |printed| has_whole(&events(printed), both[1]));
}
