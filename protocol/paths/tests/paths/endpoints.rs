//! Linux's model of endpoints.

use crate::table::{Table, ours, run};
use anabranch_paths::{Endpoint, EndpointError, Flags, Kind, Limits, Policy};

/// Endpoints in the words of `ip mptcp`: address, flags, `id N`, `port N`.
fn policy(kind: Kind, endpoints: &[&str]) -> Policy {
    let mut policy = Policy::new(kind);
    for text in endpoints {
        policy.add_endpoint(endpoint(text)).unwrap();
    }
    policy
}

fn endpoint(text: &str) -> Endpoint {
    let mut words = text.split_whitespace();
    let mut endpoint = Endpoint::new(ours(words.next().unwrap()), Flags::default());
    while let Some(word) = words.next() {
        match word {
            "id" => endpoint.id = words.next().unwrap().parse().unwrap(),
            "port" => endpoint.port = words.next().unwrap().parse().ok(),
            "external" => endpoint.external = true,
            flag => endpoint.flags = endpoint.flags | Flags::by_name(flag).unwrap(),
        }
    }
    endpoint
}

fn linux(endpoints: &[&str], sources: &[&str], steps: &[(u64, &str, &str)]) -> Table {
    run(policy(Kind::Endpoints, endpoints), sources, steps)
}

const ALL: [&str; 3] = ["a", "b", "c"];

#[test]
fn without_endpoints_nothing_is_opened_but_what_the_peer_announces() {
    linux(
        &[],
        &ALL,
        &[
            (0, "established", ""),
            (1, "announced 3 T", "create a>T"),
            (2, "announced 4 U", "create a>U"),
        ],
    );
}

#[test]
fn a_subflow_endpoint_starts_one_subflow_to_the_first_address() {
    linux(
        &["a subflow", "b subflow", "c subflow backup"],
        &ALL,
        &[
            (0, "established", "create b>S; create c>S backup"),
            (1, "announced 3 T", "create a>T"),
        ],
    );
    linux(&["b subflow"], &ALL, &[(0, "established denied", "")]);
}

#[test]
fn the_first_subflow_is_a_backup_if_its_endpoint_is() {
    linux(
        &["a subflow backup", "b subflow"],
        &ALL,
        &[(0, "established", "backup a>S; create b>S")],
    );
}

#[test]
fn a_signal_endpoint_is_announced_while_its_address_is_there() {
    linux(
        &["b signal", "c signal port 8080", "a signal"],
        &["a", "b", "c"],
        &[
            (0, "established", "announce 1 b; announce 2 c:8080"),
            (1, "local down b", "remove 1"),
            (2, "local up b", "announce 1 b"),
        ],
    );
    linux(
        &["198.51.100.7 signal external id 9"],
        &["a"],
        &[(0, "established", "announce 9 198.51.100.7")],
    );
}

#[test]
fn an_endpoint_may_be_announced_and_be_a_source() {
    linux(
        &["b signal subflow"],
        &ALL,
        &[(0, "established", "announce 1 b; create b>S")],
    );
}

#[test]
fn full_mesh_endpoints_answer_every_announcement() {
    linux(
        &["b subflow fullmesh", "c subflow"],
        &ALL,
        &[
            (0, "established", "create c>S; create b>S"),
            (1, "announced 3 T", "create b>T"),
            (2, "announced 4 U", "create b>U"),
        ],
    );
    // Without `subflow`, only announcements.
    linux(
        &["b fullmesh", "c fullmesh"],
        &ALL,
        &[
            (0, "established", ""),
            (1, "announced 3 T", "create b>T; create c>T"),
        ],
    );
}

#[test]
fn laminar_endpoints_answer_one_announcement_each() {
    // a-S, b-T, c-U: no two flows mix.
    linux(
        &["b laminar", "c laminar"],
        &ALL,
        &[
            (0, "established", ""),
            (1, "announced 3 T", "create b>T"),
            (2, "announced 4 U", "create c>U"),
            (3, "announced 5 10.9.3.1:80", ""),
            // One that is free again answers what is left.
            (4, "lasting b>T", "create b>10.9.3.1:80"),
        ],
    );
    // One that is a source for the first address as well is used up by that.
    linux(
        &["b subflow laminar", "c laminar"],
        &ALL,
        &[
            (0, "established", "create b>S"),
            (1, "announced 3 T", "create c>T"),
            (2, "announced 4 U", ""),
        ],
    );
    // Where the peer denies joins to its first address it is free for another.
    linux(
        &["b subflow laminar", "c laminar"],
        &ALL,
        &[
            (0, "established denied", ""),
            (1, "announced 3 T", "create b>T"),
        ],
    );
    // Of the other family none fits, and none is taken in its place.
    linux(
        &["b laminar"],
        &["a", "b", "a6"],
        &[(0, "established", ""), (1, "announced 3 fd00::9", "")],
    );
}

#[test]
fn full_mesh_goes_before_laminar() {
    linux(
        &["b laminar", "c fullmesh"],
        &ALL,
        &[(0, "established", ""), (1, "announced 3 T", "create c>T")],
    );
}

#[test]
fn limits_bound_subflows_and_announcements() {
    let mut limited = policy(Kind::Endpoints, &["b subflow", "c subflow"]);
    limited.limits = Limits {
        subflows: 2,
        add_addr_accepted: 0,
        per_peer: None,
    };
    run(
        limited.clone(),
        &ALL,
        &[
            (0, "wait", "limits 2 0"),
            (0, "established; announced 3 T", "create b>S"),
        ],
    );
    // Nothing announced is accepted, and the first address is denied: one is, from a `subflow`
    // endpoint.
    run(
        limited,
        &ALL,
        &[
            (0, "wait", "limits 2 0"),
            (0, "established denied", ""),
            (1, "announced 3 T; announced 4 U", "create b>T"),
        ],
    );
}

#[test]
fn endpoints_are_heeded_beside_another_kind() {
    run(
        policy(Kind::NDiffPorts(1), &["b signal id 77", "c subflow"]),
        &["a", "b", "c"],
        &[(0, "established", "announce 77 b; create c>S")],
    );
}

#[test]
fn an_endpoint_that_is_deleted_is_left() {
    let mut table = linux(
        &["b subflow", "c signal"],
        &ALL,
        &[
            (0, "established", "announce 2 c; create b>S"),
            (1, "up b>S 1", ""),
        ],
    );
    let sources: Vec<_> = ALL.iter().map(|s| crate::table::source(s)).collect();
    let mut changed = policy(Kind::Endpoints, &["b subflow", "c signal"]);
    changed.endpoint_mut(1).unwrap().flags = Flags::SUBFLOW | Flags::BACKUP;
    changed.delete_endpoint(2).unwrap();
    table.connection.set_policy(changed.into(), &sources);
    table.steps(&[(2, "wait", "remove 2; backup b>S")]);
    // What was opened from an endpoint that is no more ends.
    table
        .connection
        .set_policy(policy(Kind::Endpoints, &[]).into(), &sources);
    table.steps(&[(3, "wait", "remove 1; destroy b>S")]);
}

#[test]
fn what_linux_refuses_is_refused() {
    use EndpointError::*;
    for (text, error) in [
        ("b port 80", Port),
        ("b subflow port 80", Port),
        ("b signal subflow port 80", Port),
        ("b signal fullmesh", SignalFullmesh),
        ("b implicit", Implicit),
        ("127.0.0.1 subflow", Address),
        ("224.0.0.1 subflow", Address),
        ("a subflow", Exists),
        ("b subflow id 1", IdTaken),
    ] {
        let mut policy = policy(Kind::Endpoints, &["a subflow"]);
        assert_eq!(policy.add_endpoint(endpoint(text)), Err(error), "{text}");
    }
    let mut full = Policy::new(Kind::Endpoints);
    for last in 1..=32 {
        let text = format!("10.1.0.{last} subflow");
        assert_eq!(full.add_endpoint(endpoint(&text)), Ok(last));
    }
    assert_eq!(full.add_endpoint(endpoint("b subflow")), Err(Full));
    assert_eq!(full.delete_endpoint(77), Err(Missing));
    full.delete_endpoint(9).unwrap();
    assert_eq!(full.add_endpoint(endpoint("b subflow")), Ok(9));
}
