//! Commands to `anabranch connect`.

use anabranch_interop::require;
use anabranch_kernel::mptcp::{Event, Events};
use serde_json::Value;
use std::net::SocketAddr;

use crate::world::{World, eventually};

const ENDPOINTS: &str = "[policy]\nkind = \"endpoints\"\n";

#[test]
fn endpoints_are_added_changed_shown_and_deleted() {
    if !require::lab() {
        return;
    }
    let world = World::new(ENDPOINTS);
    assert_eq!(world.printed("endpoint show"), "");
    let second = world.v4(1);
    let added = world.printed(&format!("endpoint add {second} dev link1 subflow"));
    assert_eq!(added, format!("{second} id 1 subflow dev link1\n"));
    world.await_links(&[0, 1]);
    assert_eq!(world.printed("endpoint show"), added);
    assert_eq!(world.printed("endpoint show id 1"), added);
    let json: Value = serde_json::from_str(&world.printed("endpoint show --json")).unwrap();
    assert_eq!(json["endpoint"]["address"], second.to_string());
    for (word, backup) in [("backup", true), ("nobackup", false)] {
        world.printed(&format!("endpoint change id 1 {word}"));
        eventually(word, || {
            (world.subflows()[1].backup == backup).then_some(())
        });
    }
    assert_eq!(world.counted("MPTcpExtMPPrioRx"), 2);
    world.printed("endpoint delete id 1");
    world.await_links(&[0]);
    eventually("the address is withdrawn", || {
        (world.counted("MPTcpExtRmAddr") > 0).then_some(())
    });
    world.printed(&format!("endpoint add {second} id 9 subflow backup"));
    world.await_links(&[0, 1]);
    let joined = &world.subflows()[1];
    assert!(joined.backup && joined.remote_id == 9, "{joined:?}");
    world.printed("endpoint flush");
    world.await_links(&[0]);
    assert_eq!(world.printed("endpoint show"), "");
    world.finish();
}

/// Linux may close what joins anew from an address whose REMOVE_ADDR it has not acted upon yet.
#[test]
fn an_address_that_goes_and_comes_at_once_is_joined_from_again() {
    if !require::lab() {
        return;
    }
    let world = World::new(ENDPOINTS);
    let second = world.v4(1);
    let add = format!("endpoint add {second} subflow");
    let mut last: Option<SocketAddr> = None;
    for _ in 0..5 {
        world.printed(&add);
        last = Some(eventually("another subflow from there", || {
            let mut all = world.subflows().into_iter().map(|it| it.remote);
            all.find(|it| it.ip() == second && Some(*it) != last)
        }));
        world.printed("endpoint flush");
    }
    world.printed(&add);
    world.await_links(&[0, 1]);
    world.finish();
}

#[test]
fn an_endpoint_to_be_announced_is_heard_of_by_the_peer() {
    if !require::lab() {
        return;
    }
    let world = World::new(ENDPOINTS);
    let mut heard = world.topology.server.run(|| Events::open().unwrap());
    let second = world.v4(1);
    world.printed(&format!("endpoint add {second} id 7 port 7741 signal"));
    let announced = eventually("the announcement", || match heard.poll().unwrap() {
        Some(Event::Announced { id, remote, .. }) => Some((id, remote)),
        _ => None,
    });
    assert_eq!(announced, (7, (second, 7741).into()));
    world.printed("endpoint delete id 7");
    let removed = eventually("the withdrawal", || match heard.poll().unwrap() {
        Some(Event::Removed { id, .. }) => Some(id),
        _ => None,
    });
    assert_eq!(removed, 7);
    world.finish();
}

#[test]
fn limits_hold_for_connections_that_live() {
    if !require::lab() {
        return;
    }
    let world = World::new("[policy]\nkind = \"one-each\"\n");
    world.await_links(&[0, 1]);
    world.printed("limits set subflows 0 add_addr_accepted 3");
    assert_eq!(
        world.printed("limits show"),
        "add_addr_accepted 3 subflows 0\n"
    );
    world.await_links(&[0]);
    world.printed("limits set subflows 2");
    world.await_links(&[0, 1]);
    let json: Value = serde_json::from_str(&world.printed("limits show --json")).unwrap();
    assert_eq!(json["limits"]["subflows"], 2);
    world.finish();
}

#[test]
fn single_subflows_are_opened_closed_and_made_backups() {
    if !require::lab() {
        return;
    }
    let world = World::new(ENDPOINTS);
    let shown: Value = serde_json::from_str(&world.printed("ss --json")).unwrap();
    let id = shown["id"].as_str().unwrap().to_owned();
    let (first, second) = (&world.subflows()[0], world.v4(1));
    let remote = first.local;
    world.printed(&format!(
        "subflow add token {id} local {second} remote {remote} backup"
    ));
    world.await_links(&[0, 1]);
    let joined = world.subflows().remove(1);
    assert!(joined.backup);
    let ends = format!("token {id} local {} remote {remote}", joined.remote);
    world.printed(&format!("subflow prio {ends} nobackup"));
    eventually("no backup", || (!world.subflows()[1].backup).then_some(()));
    world.printed(&format!("subflow remove {ends}"));
    world.await_links(&[0]);
    world.finish();
}
