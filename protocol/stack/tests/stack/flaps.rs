//! Links that come and go at random under traffic, a thousand times, in virtual time.

use crate::pair::*;
use anabranch_stack::policy::{Address, Handover, HostEvent, Kind, Link, Plan, Policy};
use anabranch_stack::{Config, FlowId, Limits};
use anabranch_wire::Packet;
use anabranch_wire::frame::Transmit;
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

const SERVER: &str = "10.0.0.200:80";
const LINKS: u8 = 3;

fn ip(link: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, link])
}

/// Small numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

struct Scene {
    pair: Pair,
    up: Rc<RefCell<Vec<u8>>>,
    client: FlowId,
    server: FlowId,
}

fn state(link: u8, up: bool) -> HostEvent {
    HostEvent::LinkUp(Link {
        index: link.into(),
        name: format!("link{link}"),
        up,
        metered: false,
    })
}

/// Nothing passes where a link is down.
fn passes(up: &[u8], transmit: &Transmit) -> bool {
    let bytes = transmit.packets().next().map(|packet| packet.to_bytes());
    let packet = bytes.and_then(|bytes| Packet::parse(&bytes).ok());
    packet.is_some_and(|p| {
        up.iter()
            .any(|l| [p.src.ip(), p.dst.ip()].contains(&ip(*l)))
    })
}

impl Scene {
    fn new(kind: Kind) -> Scene {
        let limits = Limits {
            subflows: 32,
            ..Limits::default()
        };
        let config = Config {
            limits,
            ..Config::default()
        };
        let mut pair = Pair::new(config.clone(), config);
        let listener = pair.listen();
        for link in 1..=LINKS {
            pair.a.on_host(pair.now, state(link, true));
            let (addr, link) = (ip(link), link.into());
            let address = HostEvent::AddressUp(Address { addr, link });
            pair.a.on_host(pair.now, address);
        }
        pair.a.set_plan(pair.now, Plan::of(Policy::new(kind)));
        let up = Rc::new(RefCell::new((1..=LINKS).collect::<Vec<u8>>()));
        let passing = Rc::clone(&up);
        let filter = move |_, t: Transmit| passes(&passing.borrow(), &t).then_some(t);
        pair.filter = Some(Box::new(filter));
        let paths = pair.a.planned(addr(SERVER)).expect("a plan");
        let client = pair
            .a
            .connect_from(pair.now, paths, addr(SERVER), Default::default(), &[])
            .expect("a connection");
        pair.run(Duration::from_secs(1));
        let server = pair.b.accept(listener).expect("a connection");
        Scene {
            pair,
            up,
            client,
            server,
        }
    }

    /// A link goes or comes; packets stop and start at the same moment.
    fn flap(&mut self, dice: &mut Dice) {
        let link = dice.below(LINKS.into()) as u8 + 1;
        let was_up = self.up.borrow().contains(&link);
        if was_up && self.up.borrow().len() == 1 {
            return;
        }
        match was_up {
            true => self.up.borrow_mut().retain(|l| *l != link),
            false => self.up.borrow_mut().push(link),
        }
        self.pair.a.on_host(self.pair.now, state(link, !was_up));
    }

    fn subflows(&self) -> (usize, usize) {
        let count = |stack: &anabranch_stack::Stack, flow| {
            let info = stack.info(flow).expect("the connection lives");
            let open = |s: &&anabranch_stack::SubflowInfo| s.tcp.state.to_string() == "ESTAB";
            info.subflows.iter().filter(open).count()
        };
        (
            count(&self.pair.a, self.client),
            count(&self.pair.b, self.server),
        )
    }
}

#[test]
fn a_thousand_flaps_leave_nothing_and_every_path_that_is_back_is_joined_within_a_second() {
    for (seed, kind) in [
        (1, Kind::OneEach),
        (2, Kind::FullMesh),
        (3, Kind::OnePerInterface),
        (4, Kind::Handover(Handover::default())),
    ] {
        let mut scene = Scene::new(kind);
        let mut dice = Dice(seed);
        let data = pattern(3000);
        for flap in 0..1000 {
            scene.flap(&mut dice);
            // Sometimes several at once.
            if dice.below(4) == 0 {
                scene.flap(&mut dice);
            }
            let (client, server) = ((A, scene.client), (B, scene.server));
            scene.pair.transfer(client, server, &data);
            scene.pair.transfer(server, client, &data);
            scene.pair.run(Duration::from_secs(1));
            let up = scene.up.borrow().len();
            assert_eq!(
                scene.subflows().0,
                up,
                "{kind:?}, flap {flap}: {:?}",
                scene.up
            );
            let policy = scene.pair.a.path_policy(scene.client).expect("a policy");
            assert_eq!(policy.subflows().count(), up, "{kind:?}, flap {flap}");
            scene.pair.log.clear();
            scene.pair.lost.clear();
            scene.pair.events.clear();
        }
        // Whatever the flaps left on the way to its end has come to it.
        scene.pair.run(Duration::from_secs(300));
        let up = scene.up.borrow().len();
        assert_eq!(scene.subflows(), (up, up), "{kind:?}");
        let info = scene
            .pair
            .a
            .info(scene.client)
            .expect("the connection lives");
        assert_eq!(info.subflows.len(), up, "{kind:?}");
        assert!(scene.pair.a.memory() < 1 << 20, "{}", scene.pair.a.memory());
        assert!(scene.pair.b.memory() < 1 << 20, "{}", scene.pair.b.memory());
    }
}
