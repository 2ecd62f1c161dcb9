//! What `adaptive` sends twice stays within its budget, always.

use crate::setup::{Line, scene};
use anabranch_sim::Rng;
use anabranch_sim::{Loss, Pace, seeds};
use anabranch_stack::{FlowInfo, Protocol};
use std::time::Duration;

fn copied(info: &FlowInfo) -> u64 {
    match info.protocol {
        Protocol::Mptcp(mptcp) => mptcp.scheduling.bytes_copied,
        Protocol::Tcp => 0,
    }
}

fn within(seed: u64) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let percent = [0, 1, 5, 20, 100][rng.range(0..5) as usize];
    let mut line = || Line::new(rng.range(1..50) as f64, rng.range(1..100));
    let lines = [line(), line()];
    let mut scene = scene(seed, &lines, &format!("adaptive:budget={percent}%"), None);
    for path in &mut scene.paths {
        path.back = path
            .back
            .clone()
            .loss(Loss::Random(rng.range(0..30) as f64 / 1000.0));
    }
    // Bursts of any size, from single messages on.
    let burst = 1 << rng.range(5..18);
    scene.client.send = 64 * rng.range(5..60);
    scene.client.pace = Pace::Rounds {
        mine: 64,
        theirs: burst,
        first: true,
    };
    scene.server.send = scene.client.send / 64 * burst;
    scene.server.pace = Pace::Rounds {
        mine: burst,
        theirs: 64,
        first: false,
    };
    let mut world = scene.build();
    for _ in 0..400 {
        world.network.run_for(Duration::from_millis(10));
        let host = world.network.node(world.server);
        let Some(info) = host.flow(0).and_then(|flow| host.stack.info(flow)) else {
            continue;
        };
        // What was given to paths is at most what the application gave.
        let sent = host.progress().next().map_or(0, |it| it.sent);
        if copied(&info) * 100 > sent * percent {
            return Err(format!(
                "{} of {sent} bytes twice, {percent} %",
                copied(&info)
            ));
        }
    }
    Ok(())
}

#[test]
fn redundancy_stays_within_its_budget() {
    seeds::each(200, within);
}
