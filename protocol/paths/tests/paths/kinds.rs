//! Which subflows each kind of policy wants.

use crate::table::run;
use anabranch_paths::{Endpoint, Flags, Kind, Limits, Policy};

fn policy(kind: Kind) -> Policy {
    Policy::new(kind)
}

#[test]
fn one_each_uses_every_address_of_either_side_once() {
    run(
        policy(Kind::OneEach),
        &["a", "b", "c"],
        &[
            (0, "established", "create b>S; create c>S"),
            (1, "up b>S; up c>S", ""),
            (2, "announced 3 T", "create a>T"),
            (3, "announced 4 U", "create b>U"),
            (
                4,
                "local down b",
                "remove 7; destroy b>S at once; destroy b>U at once; create c>U",
            ),
        ],
    );
}

#[test]
fn full_mesh_connects_each_with_each_of_its_family() {
    run(
        policy(Kind::FullMesh),
        &["a", "b", "a6"],
        &[
            (0, "established", "create b>S"),
            (1, "announced 3 T", "create a>T; create b>T"),
            (2, "announced 4 fd00::9", "create a6>S6"),
        ],
    );
}

#[test]
fn one_per_interface_does_not_care_how_many_addresses_it_has() {
    let sources = ["a link=1", "b link=2", "c link=2", "a6 link=3"];
    run(
        policy(Kind::OnePerInterface),
        &sources,
        &[
            (0, "established", "create b>S"),
            (1, "up b>S", ""),
            // An address of the peer that none of ours goes to is preferred.
            (2, "announced 4 fd00::9; announced 3 T", "create a6>S6"),
            (
                3,
                "local down b",
                "remove 7; destroy b>S at once; create c>T",
            ),
            (4, "local up b link=2", ""),
        ],
    );
    // Of interfaces that are not known each address is one.
    run(
        policy(Kind::OnePerInterface),
        &["a", "b", "c"],
        &[(0, "established", "create b>S; create c>S")],
    );
}

#[test]
fn ndiffports_opens_several_between_the_same_two() {
    run(
        policy(Kind::NDiffPorts(3)),
        &["a", "b"],
        &[
            (0, "established; announced 3 T", "create a>S; create a>S"),
            (1, "up a>S", ""),
            (2, "passing a>S", ""),
            (1002, "wait", "create a>S"),
            // The address is gone: another takes its place.
            (
                2000,
                "local down a",
                "remove 0; destroy a>S at once; destroy a>S at once; destroy a>S at once; \
          create b>S; create b>S; create b>S",
            ),
        ],
    );
    run(
        policy(Kind::NDiffPorts(1)),
        &["a", "b"],
        &[(0, "established", "")],
    );
}

#[test]
fn a_server_announces_and_leaves_joining_to_the_peer() {
    let sources = ["a id=9", "b id=8", "c id=7", "a6 id=6"];
    run(
        policy(Kind::Server),
        &sources,
        &[
            (
                0,
                "established; announced 3 T",
                "announce 8 b; announce 7 c; announce 6 a6",
            ),
            (1, "local down c", "remove 7"),
            (2, "local up c id=7", "announce 7 c"),
            (3, "joined b; joined c", ""),
            (
                4,
                "local down b",
                "remove 0; remove 8; destroy b>10.9.0.77:40001 at once",
            ),
        ],
    );
}

#[test]
fn a_server_ends_what_is_too_many() {
    let limits = Limits {
        subflows: 2,
        ..Limits::default()
    };
    let server = Policy {
        limits,
        ..policy(Kind::Server)
    };
    run(
        server,
        &["a id=9"],
        &[
            (0, "established", "limits 2 32"),
            (1, "joined a", ""),
            (2, "joined a", "destroy a>10.9.0.77:40002"),
        ],
    );
}

#[test]
fn a_server_joins_only_where_the_peer_says_that_it_listens() {
    let endpoints = [("10.0.1.1", Flags::SUBFLOW | Flags::FULLMESH)];
    let mut server = policy(Kind::Server);
    for (addr, flags) in endpoints {
        server
            .add_endpoint(Endpoint::new(addr.parse().unwrap(), flags))
            .unwrap();
    }
    run(
        server,
        &["a id=9", "b id=8"],
        &[
            (0, "established", "announce 8 b"),
            (1, "announced 3 10.9.1.1", ""),
            (2, "announced 4 10.9.2.1:80", "create b>U"),
        ],
    );
}

#[test]
fn an_address_that_does_not_lead_to_the_peer_is_announced_and_not_joined_from() {
    let endpoints = Flags::SIGNAL | Flags::SUBFLOW;
    let mut both = policy(Kind::FullMesh);
    both.add_endpoint(Endpoint::new("10.0.1.1".parse().unwrap(), endpoints))
        .unwrap();
    let mut table = run(
        both,
        &["a", "b id=1 unrouted"],
        &[
            (0, "established", "announce 1 b"),
            (1, "local up b id=1", "create b>S"),
            (2, "up b>S 1", ""),
        ],
    );
    // The route goes, the address stays.
    let sources = ["a", "b id=1 unrouted"].map(crate::table::source);
    table.connection.set_sources(&sources, true);
    table.steps(&[(3, "wait", "remove 1; destroy b>S at once; announce 1 b")]);
}
