use super::*;

fn wrong(text: &str) -> String {
    let (line, reason) = parse(text).unwrap_err();
    format!("{line}: {reason}")
}

#[test]
fn an_empty_file_is_what_happens_without_one() {
    let wanted = parse("").unwrap();
    assert_eq!(wanted.plan, Plan::default());
    assert!(wanted.rules.is_empty());
}

#[test]
fn everything_there_is_to_say() {
    let Wanted { plan, rules } = parse(include_str!("../../../../../docs/paths.toml")).unwrap();
    let schedulers: Vec<_> = rules
        .iter()
        .filter_map(|rule| Some(rule.scheduler.as_ref()?.build().name()))
        .collect();
    assert_eq!(schedulers, ["redundant", "weighted", "minrtt"]);
    assert_eq!(rules[0].which.peer, Some(("10.0.0.0".parse().unwrap(), 8)));
    assert_eq!(
        (rules[0].which.port, rules[2].which.dscp),
        (Some(8443), Some(10))
    );
    assert_eq!(rules[2].congestion.map(|it| it.name()), Some("lia"));
    assert_eq!(rules[3].steering, Some(anabranch_stack::Steering::OFF));
    let policy = &plan.policy;
    assert_eq!(policy.kind, Kind::Handover(Handover { warm: true }));
    assert_eq!(
        (policy.limits.subflows, policy.limits.add_addr_accepted),
        (8, 8)
    );
    assert_eq!(policy.limits.per_peer, Some(64));
    assert_eq!(policy.delay.bytes, Some(100 << 10));
    assert_eq!(policy.retry.max, Duration::from_secs(60));
    assert_eq!(policy.health.unwrap().tries, 3);
    assert_eq!(policy.endpoints[0].flags, Flags::SIGNAL);
    assert_eq!(policy.endpoints[0].port, Some(8443));
    assert_eq!(plan.rules.len(), 4);
    let kinds: Vec<Kind> = plan.selections.iter().map(|s| s.policy.kind).collect();
    assert_eq!(kinds, [Kind::Server, Kind::NDiffPorts(4), Kind::OneEach]);
    // What a connection's own policy does not say is as for all.
    assert_eq!(plan.selections[1].policy.limits.per_peer, Some(64));
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_key() {
    for (text, expected) in [
        (
            "[policy]\nkind = \"mesh\"",
            "2: kind: unknown variant `mesh`, expected one of",
        ),
        (
            "[policy]\n\nkindly = 1",
            "3: unknown field `kindly`, expected one of `kind`",
        ),
        (
            "[policy.retry]\nfirst = \"1 s\"",
            "2: first: \"1 s\": expected a time, such as 500ms",
        ),
        (
            "[policy.retry]\nfirst = 1",
            "2: first: invalid type: integer `1`, expected a text",
        ),
        (
            "[policy.retry]\nfirst = \"2m\"",
            "2: first: retry.max is less than retry.first",
        ),
        (
            "[policy.retry]\nmax = \"0s\"",
            "2: max: expected more than 0",
        ),
        (
            "[policy.limits]\nsubflow = 32",
            "2: subflow: expected 0 to 31",
        ),
        (
            "[policy]\ncount = 2",
            "2: count: goes with kind = \"ndiffports\" only",
        ),
        (
            "[policy]\nkind = \"ndiffports\"\ncount = 0",
            "3: count: expected 1 to 32 subflows",
        ),
        (
            "[policy]\nstandby = \"cold\"",
            "2: standby: goes with kind = \"handover\" only",
        ),
        (
            "[policy.delay]\nbytes = \"1K\"",
            "2: bytes: without delay.time nothing waits",
        ),
        (
            "[[endpoint]]\naddress = \"eth0\"",
            "2: address: \"eth0\": expected an address",
        ),
        (
            "[[endpoint]]\naddress = \"192.0.2.1\"\nport = 80",
            "1: a port goes with the flag signal",
        ),
        (
            "[[endpoint]]\naddress = \"192.0.2.1\"\nflags = [\"subflows\"]",
            "3: flags: \"subflows\": expected signal, subflow",
        ),
        (
            "[[interface]]\nname = \"eth*\"",
            "1: says nothing: give allow",
        ),
        (
            "[[interface]]\nnetwork = \"10.0.0.0/99\"\nallow = true",
            "2: network: \"10.0.0.0/99\": the length",
        ),
        (
            "[[scheduling]]\nport = 443",
            "1: says nothing: give scheduler, congestion or steer",
        ),
        (
            "[[scheduling]]\nscheduler = \"fastest\"",
            "2: scheduler: \"fastest\": no scheduler named",
        ),
        (
            "[[scheduling]]\ndscp = 64\nscheduler = \"ecf\"",
            "2: dscp: expected 0 to 63",
        ),
        (
            "[[scheduling]]\nsteer = \"slower=1\"",
            "2: steer: \"slower=1\": \"1\" is not 0",
        ),
        (
            "[[connection]]\npolicy.kind = \"server\"",
            "1: no condition",
        ),
        (
            "[[connection]]\nlistener = 443\nport = 80",
            "1: holds for no connection",
        ),
        ("[policy\nkind", "1: "),
    ] {
        let told = wrong(text);
        assert!(told.starts_with(expected), "{text:?}: {told}");
        assert!(!told.contains('\n'), "{told}");
    }
}

#[test]
fn no_text_makes_it_panic() {
    let whole = include_str!("../../../../../docs/paths.toml");
    for cut in (0..whole.len()).filter(|at| whole.is_char_boundary(*at)) {
        let _ = parse(&whole[..cut]);
        let _ = parse(&whole[cut..]);
    }
}
