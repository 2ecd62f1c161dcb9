//! The commands that change what is wanted while an engine runs, whichever it is.

use anabranch_paths::{Endpoint, Flags, Plan, Policy};

use crate::control::{self, Answer, Limits, Request};

/// Further subflows, and addresses of the peer.
const MAX_LIMIT: u8 = 31;

/// What becomes of `plan`, and what to answer; `None` if the request changes no plan.
pub(crate) fn edit(plan: &Plan, request: &Request) -> Option<Result<(Plan, Vec<Answer>), String>> {
    let none = Vec::new;
    Some(match request {
        Request::EndpointAdd { endpoint } => add(plan, endpoint),
        Request::EndpointChange {
            id,
            address,
            set,
            clear,
        } => flags(set).and_then(|set| {
            let clear = flags(clear)?;
            let plan = change(plan, |policy| turn(policy, *id, *address, set, clear))?;
            Ok((plan, none()))
        }),
        Request::EndpointDelete { id } => change(plan, |policy| {
            let deleted = policy.delete_endpoint(*id);
            deleted
                .map(drop)
                .map_err(|error| format!("id {id}: {error}"))
        })
        .map(|plan| (plan, none())),
        Request::EndpointFlush => change(plan, |policy| {
            policy.endpoints.clear();
            Ok(())
        })
        .map(|plan| (plan, none())),
        Request::LimitsSet {
            subflows,
            add_addr_accepted,
        } => limit(plan, *subflows, *add_addr_accepted).map(|plan| (plan, none())),
        _ => return None,
    })
}

/// How an endpoint is told.
pub(crate) fn shown(endpoint: Endpoint, derived: bool) -> Answer {
    Answer::Endpoint(control::Endpoint {
        address: endpoint.addr,
        id: endpoint.id,
        port: endpoint.port,
        flags: endpoint.flags.names().map(str::to_owned).collect(),
        derived,
        dev: endpoint.dev,
    })
}

/// The limits of connections that no selection means.
pub(crate) fn limits(plan: &Plan) -> Limits {
    let limits = plan.policy.limits;
    Limits {
        subflows: limits.subflows.saturating_sub(1) as u32,
        add_addr_accepted: limits.add_addr_accepted as u32,
    }
}

/// Changes every policy of the plan alike.
fn change(
    plan: &Plan,
    mut change: impl FnMut(&mut Policy) -> Result<(), String>,
) -> Result<Plan, String> {
    let mut plan = plan.clone();
    let mut outcome = Ok(());
    plan.each_policy(|policy| {
        // What the first policy takes, the others take: they have its endpoints.
        let changed = change(policy);
        if outcome.is_ok() {
            outcome = changed;
        }
    });
    outcome.map(|()| plan)
}

fn add(plan: &Plan, endpoint: &control::Endpoint) -> Result<(Plan, Vec<Answer>), String> {
    let new = Endpoint {
        id: endpoint.id,
        port: endpoint.port,
        dev: endpoint.dev.clone(),
        ..Endpoint::new(endpoint.address, flags(&endpoint.flags)?)
    };
    let mut id = 0;
    let plan = change(plan, |policy| {
        let added = policy.add_endpoint(new.clone());
        id = added.map_err(|error| format!("{}: {error}", new.addr))?;
        Ok(())
    })?;
    let endpoint = control::Endpoint {
        id,
        ..endpoint.clone()
    };
    Ok((plan, vec![Answer::Endpoint(endpoint)]))
}

/// Sets and clears flags of an endpoint, found by its ID or, if that is 0, by its address.
fn turn(
    policy: &mut Policy,
    id: u8,
    address: Option<std::net::IpAddr>,
    set: Flags,
    clear: Flags,
) -> Result<(), String> {
    let meant = |e: &&mut Endpoint| match id {
        0 => Some(e.addr) == address,
        id => e.id == id,
    };
    let found = policy.endpoints.iter_mut().find(meant);
    let endpoint = found.ok_or("there is no such endpoint")?;
    let mut changed = endpoint.clone();
    changed.flags = changed.flags.with(clear, false).with(set, true);
    changed.check().map_err(|error| error.to_string())?;
    *endpoint = changed;
    Ok(())
}

fn limit(plan: &Plan, subflows: Option<u8>, add_addr_accepted: Option<u8>) -> Result<Plan, String> {
    let given = [
        ("subflows", subflows),
        ("add_addr_accepted", add_addr_accepted),
    ];
    let beyond = |(_, value): &(_, Option<u8>)| value.is_some_and(|n| n > MAX_LIMIT);
    if let Some((name, _)) = given.into_iter().find(beyond) {
        return Err(format!("{name}: expected 0 to {MAX_LIMIT}"));
    }
    change(plan, |policy| {
        if let Some(further) = subflows {
            policy.limits.subflows = usize::from(further) + 1;
        }
        if let Some(accepted) = add_addr_accepted {
            policy.limits.add_addr_accepted = accepted.into();
        }
        Ok(())
    })
}

fn flags(names: &[String]) -> Result<Flags, String> {
    let known = |name: &String| Flags::by_name(name).ok_or(format!("{name}: no such flag"));
    names
        .iter()
        .try_fold(Flags::default(), |all, name| Ok(all | known(name)?))
}
