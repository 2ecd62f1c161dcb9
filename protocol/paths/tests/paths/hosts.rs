//! Which addresses of a host may be used, and what they come to as endpoints.

use anabranch_paths::{
    Address, Endpoint, Facts, Flags, Handover, Host, HostEvent, Kind, Link, Metered,
    NotExpressible, Pattern, Plan, Policy, Route, Rule, Selection, Side, When,
};
use std::net::IpAddr;
use std::sync::Arc;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(index: u32, name: &str) -> HostEvent {
    HostEvent::LinkUp(Link {
        index,
        name: name.to_owned(),
        up: true,
        metered: false,
    })
}

fn address(addr: &str, link: u32) -> Address {
    Address {
        addr: ip(addr),
        link,
    }
}

/// Interfaces eth0 with two addresses, wlan0 and wwan0.
fn host() -> Host {
    let mut host = Host::new();
    for (index, name) in [(1, "eth0"), (2, "wlan0"), (3, "wwan0")] {
        assert!(host.on_event(link(index, name)));
    }
    for (addr, index) in [
        ("10.0.0.1", 1),
        ("10.0.0.2", 1),
        ("10.0.1.1", 2),
        ("10.0.2.1", 3),
    ] {
        assert!(host.on_event(HostEvent::AddressUp(address(addr, index))));
    }
    host
}

/// The addresses' last two numbers with what is particular to them.
fn sources(host: &Host, policy: &Policy, rules: &[Rule]) -> String {
    let all = host.sources(policy, rules, ip("192.0.2.1"));
    let all: Vec<_> = all.into_iter().filter(|s| s.routed).collect();
    let say = |s: &anabranch_paths::Source| {
        let mut text = s.addr.ip().to_string().replacen("10.0.", "", 1);
        if s.backup {
            text.push_str(" backup");
        }
        text
    };
    all.iter().map(say).collect::<Vec<_>>().join(", ")
}

fn rule(interface: &str) -> Rule {
    Rule {
        interface: Some(Pattern::new(interface)),
        ..Rule::default()
    }
}

#[test]
fn every_address_may_be_used_unless_a_rule_says_otherwise() {
    let policy = Policy::default();
    assert_eq!(sources(&host(), &policy, &[]), "0.1, 0.2, 1.1, 2.1");
    let forbid = Rule {
        allow: Some(false),
        ..rule("w*")
    };
    assert_eq!(sources(&host(), &policy, &[forbid]), "0.1, 0.2");
    // An allow-list: the last rule forbids everything else.
    let allow = Rule {
        allow: Some(true),
        rank: Some(5),
        ..rule("wlan?")
    };
    let rest = Rule {
        allow: Some(false),
        ..Rule::default()
    };
    assert_eq!(sources(&host(), &policy, &[allow, rest]), "1.1");
    let network = Rule {
        network: Some("10.0.0.0/30".parse().unwrap()),
        rank: Some(200),
        ..Rule::default()
    };
    assert_eq!(sources(&host(), &policy, &[network]), "1.1, 2.1, 0.1, 0.2");
    let named = Policy {
        sources: vec![ip("10.0.2.1"), ip("10.0.0.1"), ip("10.7.7.7")],
        ..Policy::default()
    };
    assert_eq!(sources(&host(), &named, &[]), "2.1, 0.1");
}

#[test]
fn an_endpoint_with_an_interface_is_at_that_one() {
    let at = |addr: &str, dev: &str| {
        let mut policy = Policy::default();
        let dev = Some(dev.to_owned());
        let endpoint = Endpoint::new(ip(addr), Flags::SUBFLOW);
        policy.add_endpoint(Endpoint { dev, ..endpoint }).unwrap();
        policy
    };
    let links = |host: &Host, policy: &Policy, addr: &str| -> Vec<u32> {
        let all = host.sources(policy, &[], ip("192.0.2.1")).into_iter();
        all.filter(|s| s.addr.ip() == ip(addr))
            .map(|s| s.link)
            .collect()
    };
    let mut host = host();
    assert_eq!(links(&host, &at("10.0.0.1", "eth0"), "10.0.0.1"), [1]);
    // The kernel binds a socket to any interface, whichever has the address.
    assert_eq!(links(&host, &at("10.0.0.1", "wwan0"), "10.0.0.1"), [3]);
    assert_eq!(links(&host, &at("10.9.9.9", "wwan0"), "10.9.9.9"), []);
    assert_eq!(links(&host, &at("10.0.0.1", "tun7"), "10.0.0.1"), []);
    // Where addresses are translated, it takes one of the interface's to translate to.
    assert!(host.set_translates(true));
    assert_eq!(links(&host, &at("10.0.0.1", "wwan0"), "10.0.0.1"), [3]);
    assert_eq!(links(&host, &at("10.9.9.9", "wwan0"), "10.9.9.9"), [3]);
    assert_eq!(links(&host, &at("fd00::9", "wwan0"), "fd00::9"), []);
    host.on_event(HostEvent::AddressDown(address("10.0.2.1", 3)));
    assert_eq!(links(&host, &at("10.9.9.9", "wwan0"), "10.9.9.9"), []);
}

#[test]
fn what_is_paid_for_by_volume_is_spared() {
    let paid = Rule {
        metered: Some(true),
        ..rule("wwan*")
    };
    let with = |metered| Policy {
        metered,
        ..Policy::default()
    };
    let rules = [paid];
    let all = |metered| sources(&host(), &with(metered), &rules);
    assert_eq!(all(Metered::Use), "0.1, 0.2, 1.1, 2.1");
    assert_eq!(all(Metered::Backup), "0.1, 0.2, 1.1, 2.1 backup");
    assert_eq!(all(Metered::Never), "0.1, 0.2, 1.1");
    let trusted = Rule {
        backup: Some(false),
        ..rule("wwan0")
    };
    let both = [trusted, rules[0].clone()];
    assert_eq!(
        sources(&host(), &with(Metered::Backup), &both),
        "0.1, 0.2, 1.1, 2.1"
    );
    // The system may know it of itself.
    let mut host = host();
    host.on_event(HostEvent::LinkUp(Link {
        index: 2,
        name: "wlan0".into(),
        up: true,
        metered: true,
    }));
    assert_eq!(
        sources(&host, &Policy::default(), &[]),
        "0.1, 0.2, 2.1, 1.1 backup"
    );
}

#[test]
fn an_interface_without_carrier_or_route_leads_nowhere() {
    let mut host = host();
    let policy = Policy::default();
    host.on_event(HostEvent::LinkUp(Link {
        index: 1,
        name: "eth0".into(),
        up: false,
        metered: false,
    }));
    assert_eq!(sources(&host, &policy, &[]), "1.1, 2.1");
    let route = |link, to: &str| Route {
        link,
        to: to.parse().unwrap(),
    };
    host.on_event(HostEvent::RouteUp(route(2, "198.51.100.0/24")));
    host.on_event(HostEvent::RouteUp(route(3, "192.0.2.0/24")));
    assert_eq!(sources(&host, &policy, &[]), "2.1");
    host.on_event(HostEvent::RouteUp(route(2, "0.0.0.0/0")));
    assert_eq!(sources(&host, &policy, &[]), "1.1, 2.1");
    host.on_event(HostEvent::RouteDown(route(3, "192.0.2.0/24")));
    assert_eq!(sources(&host, &policy, &[]), "1.1");
    assert!(host.on_event(HostEvent::AddressDown(address("10.0.1.1", 2))));
    assert!(!host.on_event(HostEvent::AddressDown(address("10.0.1.1", 2))));
    assert_eq!(sources(&host, &policy, &[]), "");
    host.on_event(link(1, "eth0"));
    host.on_event(HostEvent::RouteUp(route(1, "0.0.0.0/0")));
    host.on_event(HostEvent::LinkDown(1));
    assert_eq!(sources(&host, &policy, &[]), "");
}

#[test]
fn addresses_keep_their_ids() {
    let mut host = host();
    let id = |host: &Host, addr: &str| {
        let all = host.sources(&Policy::default(), &[], ip("192.0.2.1"));
        all.iter().find(|s| s.addr.ip() == ip(addr)).map(|s| s.id)
    };
    assert_eq!(id(&host, "10.0.0.1"), Some(255));
    assert_eq!(id(&host, "10.0.2.1"), Some(252));
    for round in 0..1000u32 {
        let [_, b, c, d] = round.to_be_bytes();
        let other = Address {
            addr: IpAddr::from([11, b, c, d]),
            link: 2,
        };
        host.on_event(HostEvent::AddressUp(other));
        host.on_event(HostEvent::AddressDown(other));
    }
    assert_eq!(id(&host, "10.0.2.1"), Some(252));
    // An endpoint's own ID goes before.
    let mut policy = Policy::default();
    policy
        .add_endpoint(Endpoint::new(ip("10.0.2.1"), Flags::SIGNAL))
        .unwrap();
    let named = host.sources(&policy, &[], ip("192.0.2.1"));
    assert_eq!(named.last().unwrap().id, 1);
}

#[test]
fn a_policy_comes_to_endpoints() {
    let say = |kind| {
        let all = host().endpoints(&Policy::new(kind), &[]);
        let one = |e: &Endpoint| format!("{} {} {}", e.addr, e.dev.as_deref().unwrap(), e.flags);
        all.map(|all| all.iter().map(one).collect::<Vec<_>>().join(", "))
    };
    assert_eq!(
        say(Kind::FullMesh).unwrap(),
        "10.0.0.1 eth0 subflow fullmesh, 10.0.0.2 eth0 subflow fullmesh, \
         10.0.1.1 wlan0 subflow fullmesh, 10.0.2.1 wwan0 subflow fullmesh"
    );
    assert_eq!(
        say(Kind::OnePerInterface).unwrap(),
        "10.0.0.1 eth0 subflow, 10.0.1.1 wlan0 subflow, 10.0.2.1 wwan0 subflow"
    );
    assert_eq!(
        say(Kind::Handover(Handover::default())).unwrap(),
        "10.0.0.1 eth0 subflow, 10.0.0.2 eth0 subflow backup, 10.0.1.1 wlan0 subflow backup, \
         10.0.2.1 wwan0 subflow backup"
    );
    assert!(
        say(Kind::Server)
            .unwrap()
            .starts_with("10.0.0.1 eth0 signal, ")
    );
    assert_eq!(say(Kind::Endpoints).unwrap(), "");
    assert_eq!(say(Kind::NDiffPorts(2)), Err(NotExpressible));
    let mut own = Policy::new(Kind::OneEach);
    own.add_endpoint(Endpoint::new(ip("10.0.1.1"), Flags::SIGNAL))
        .unwrap();
    own.add_endpoint(Endpoint::new(ip("10.7.7.7"), Flags::SIGNAL))
        .unwrap();
    let all = host().endpoints(&own, &[]).unwrap();
    let signal: Vec<_> = all.iter().filter(|e| e.flags.has(Flags::SIGNAL)).collect();
    assert_eq!(
        (all.len(), signal.len(), signal[0].addr),
        (4, 1, ip("10.0.1.1"))
    );
}

#[test]
fn a_connection_has_the_policy_of_the_first_selection_that_fits() {
    let select = |when, kind| Selection {
        when,
        policy: Arc::new(Policy::new(kind)),
    };
    let when = When::default;
    let plan = Plan {
        selections: vec![
            select(
                When {
                    listener: Some(443),
                    ..when()
                },
                Kind::Server,
            ),
            select(
                When {
                    port: Some(443),
                    ..when()
                },
                Kind::FullMesh,
            ),
            select(
                When {
                    peer: "192.0.2.0/24".parse().ok(),
                    ..when()
                },
                Kind::NDiffPorts(2),
            ),
            select(
                When {
                    process: Some(Pattern::new("curl*")),
                    ..when()
                },
                Kind::OnePerInterface,
            ),
            select(
                When {
                    cgroup: Some(Pattern::new("/user.slice/*")),
                    ..when()
                },
                Kind::Endpoints,
            ),
            select(
                When {
                    side: Some(Side::Server),
                    ..when()
                },
                Kind::Server,
            ),
        ],
        ..Plan::default()
    };
    let facts = |side, local: u16, remote: &str| Facts {
        side,
        local: ([10, 0, 0, 1], local).into(),
        remote: remote.parse().unwrap(),
        process: None,
        cgroup: None,
    };
    let kind = |facts: &Facts| plan.policy_for(facts).kind;
    let far = "203.0.113.1:443";
    assert_eq!(kind(&facts(Side::Server, 443, far)), Kind::Server);
    assert_eq!(kind(&facts(Side::Client, 443, far)), Kind::FullMesh);
    assert_eq!(
        kind(&facts(Side::Server, 80, "192.0.2.9:5000")),
        Kind::NDiffPorts(2)
    );
    assert_eq!(kind(&facts(Side::Server, 80, far)), Kind::Server);
    let mut known = facts(Side::Client, 5000, "203.0.113.1:80");
    assert_eq!(kind(&known), Kind::OneEach);
    known.process = Some("curl".into());
    assert_eq!(kind(&known), Kind::OnePerInterface);
    known.process = Some("wget".into());
    known.cgroup = Some("/user.slice/user-1000.slice".into());
    assert_eq!(kind(&known), Kind::Endpoints);
}
