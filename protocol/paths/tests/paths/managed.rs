//! Many connections at once, as a daemon has them.

use anabranch_paths::{
    Address, Command, Ends, Event, Facts, HostEvent, Kind, Limits, Link, Loss, Manager, Plan,
    Policy, Side, Time,
};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const NOW: Time = Time::ZERO;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn manager(policy: Policy) -> Manager {
    let mut manager = Manager::new(Plan::of(policy));
    for index in 1..=3 {
        manager.on_host(HostEvent::LinkUp(Link {
            index,
            name: format!("link{index}"),
            up: true,
            metered: false,
        }));
        manager.on_host(HostEvent::AddressUp(address(index)));
    }
    manager
}

fn address(index: u32) -> Address {
    let addr = IpAddr::from([10, 0, index as u8, 1]);
    Address { addr, link: index }
}

fn facts(token: u32, peer: &str) -> Facts {
    Facts {
        side: Side::Client,
        local: SocketAddr::new(ip("10.0.1.1"), 4000 + token as u16),
        remote: SocketAddr::new(ip(peer), 80),
        process: None,
        cgroup: None,
    }
}

fn begin(manager: &mut Manager, token: u32, peer: &str) {
    manager.created(NOW, token, facts(token, peer));
    manager.on_event(NOW, token, Event::Established { deny_join: false });
}

/// Who opens subflows, and from where.
fn creates(manager: &mut Manager, now: Time) -> Vec<(u32, String)> {
    let mut all = Vec::new();
    while let Some((token, command)) = manager.next(now) {
        if let Command::Create { from, .. } = command {
            all.push((token, from.addr.ip().to_string()));
        }
    }
    all
}

fn down(manager: &mut Manager, now: Time, token: u32, local: &str, peer: &str) {
    let ends = Ends {
        local: SocketAddr::new(ip(local), 0),
        remote: SocketAddr::new(ip(peer), 80),
    };
    let loss = Loss::Passing;
    manager.on_event(now, token, Event::SubflowDown { ends, loss });
}

#[test]
fn each_connection_is_managed_by_its_token() {
    let mut manager = manager(Policy::new(Kind::FullMesh));
    begin(&mut manager, 1, "192.0.2.1");
    begin(&mut manager, 2, "192.0.2.2");
    let both = [1, 2].map(|token| [2, 3].map(|link| (token, format!("10.0.{link}.1"))));
    assert_eq!(creates(&mut manager, NOW), both.concat());
    down(&mut manager, NOW, 2, "10.0.3.1", "192.0.2.2");
    assert_eq!(creates(&mut manager, NOW), []);
    let due = manager.deadline().unwrap();
    assert_eq!(due, Duration::from_secs(1));
    assert_eq!(creates(&mut manager, due), [(2, "10.0.3.1".into())]);
    manager.on_event(due, 1, Event::Closed);
    manager.on_event(due, 99, Event::Established { deny_join: false });
    assert_eq!(manager.connections().count(), 1);
}

#[test]
fn changes_of_the_host_reach_every_connection() {
    let mut manager = manager(Policy::new(Kind::FullMesh));
    begin(&mut manager, 1, "192.0.2.1");
    begin(&mut manager, 2, "192.0.2.2");
    creates(&mut manager, NOW);
    manager.on_host(HostEvent::AddressDown(address(3)));
    let mut left = Vec::new();
    while let Some((token, command)) = manager.next(NOW) {
        left.push((token, matches!(command, Command::Remove { id: 253 })));
    }
    assert_eq!(left, [(1, true), (1, false), (2, true), (2, false)]);
    manager.on_host(HostEvent::AddressUp(address(3)));
    let again = [1, 2].map(|token| (token, "10.0.3.1".to_owned()));
    assert_eq!(creates(&mut manager, NOW), again);
}

#[test]
fn one_peer_has_so_many_subflows_with_all_its_connections() {
    let limits = Limits {
        per_peer: Some(3),
        ..Limits::default()
    };
    let mut manager = manager(Policy {
        limits,
        ..Policy::new(Kind::FullMesh)
    });
    for token in [1, 2, 3] {
        begin(&mut manager, token, "192.0.2.1");
    }
    begin(&mut manager, 4, "192.0.2.4");
    let counted =
        |all: &[(u32, String)]| [1, 2, 3, 4].map(|t| all.iter().filter(|a| a.0 == t).count());
    assert_eq!(counted(&creates(&mut manager, NOW)), [2, 1, 0, 2]);
    // What ends makes room for others.
    manager.on_event(NOW, 1, Event::Closed);
    manager.on_event(
        NOW,
        2,
        Event::Announced {
            id: 3,
            addr: ip("192.0.2.77"),
            port: None,
        },
    );
    assert_eq!(counted(&creates(&mut manager, NOW)), [0, 2, 0, 0]);
}

#[test]
fn another_plan_takes_over() {
    let mut manager = manager(Policy::new(Kind::Server));
    begin(&mut manager, 1, "192.0.2.1");
    assert_eq!(creates(&mut manager, NOW), []);
    manager.set_plan(Plan::of(Policy::new(Kind::FullMesh)));
    assert_eq!(creates(&mut manager, NOW).len(), 2);
}
