//! What people ask of it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anabranch_interop::require;
use anabranch_interop::server::program;
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

/// What `anabranch monitor` writes while something happens.
fn watched(world: &World, further: &[&str], happens: impl FnOnce()) -> String {
    let path = world.folder.path().join("events");
    let mut monitor = Command::new(program().unwrap())
        .arg("monitor")
        .args(further)
        .arg("--control")
        .arg(world.folder.path().join("pm.sock"))
        .stdout(File::create(&path).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Whoever connects after it is answered after it.
    eventually("the monitor asks", || {
        let files = std::fs::read_dir(format!("/proc/{}/fd", monitor.id())).unwrap();
        let links = files
            .flatten()
            .filter_map(|it| std::fs::read_link(it.path()).ok());
        let mut sockets = links.filter(|it| it.to_string_lossy().starts_with("socket:"));
        sockets.next().map(drop)
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    happens();
    let read = || {
        BufReader::new(File::open(&path).unwrap())
            .lines()
            .map_while(Result::ok)
    };
    eventually("the end of the connection", || {
        let mut lines = read();
        lines
            .any(|it| it.contains("CLOSED] token") || it.contains("\"closed\""))
            .then_some(())
    });
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    std::fs::read_to_string(&path).unwrap()
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
    let words = watched(&world, &[], live);
    let events = [
        "CREATED]",
        "ESTABLISHED]",
        "SF_ESTABLISHED]",
        "CLOSED] token",
    ];
    let mut rest = words.as_str();
    for event in events {
        let at = rest.find(event);
        let at = at.unwrap_or_else(|| panic!("no {event} where it should be:\n{words}"));
        rest = &rest[at + event.len()..];
    }
    let json = watched(&world, &["--json"], live);
    let events: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].take())
        .collect();
    let joined = events
        .iter()
        .find(|it| it["event"] == "sf_established")
        .unwrap();
    let local = format!("{}:", world.v4(1));
    assert!(
        joined["local"].as_str().unwrap().starts_with(&local),
        "{joined}"
    );
    let token = &joined["token"];
    for event in ["created", "established", "closed"] {
        let same = |it: &&Value| it["event"] == event && it["token"] == *token;
        assert!(events.iter().any(|it| same(&it)), "{event}: {json}");
    }
}
