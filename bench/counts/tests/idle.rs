//! What an idle connection holds of memory: everything the stack has for it, as the allocator
//! counts it.

use anabranch_counts::world::{Ends, Protocol, World, chunk, read};
use std::time::Duration;

#[global_allocator]
static HEAP: anabranch_heap::Counting = anabranch_heap::Counting;

/// Tables are as full as with eight times as many: what they leave unused counts too.
const CONNECTIONS: usize = 12_500;

/// A request and its answer.
fn use_it(world: &mut World, ends: Ends) {
    let answer = chunk().slice(..20_000);
    let (client, server) = (ends.client, ends.server);
    let sent = world.client.send(world.now, client, answer.slice(..100));
    assert_eq!(sent, Ok(100));
    world.exchange();
    assert_eq!(read(&mut world.server, world.now, server), 100);
    let sent = world.server.send(world.now, server, answer);
    assert_eq!(sent, Ok(20_000));
    let mut answered = 0;
    while answered < 20_000 {
        world.exchange();
        answered += read(&mut world.client, world.now, client);
    }
    world.pass(Duration::from_millis(1));
}

/// Bytes that a server holds for each of its connections, which were used and are idle.
fn idle(protocol: Protocol) -> usize {
    let mut world = World::new(protocol);
    for n in 0..CONNECTIONS {
        let ends = world.connect(n);
        use_it(&mut world, ends);
    }
    world.pass(Duration::from_secs(10));
    assert_eq!(world.server.connections().count(), CONNECTIONS);
    let before = anabranch_heap::held();
    drop(world.server);
    (before - anabranch_heap::held()) / CONNECTIONS
}

/// One test, for there is one heap.
#[test]
fn an_idle_connection_is_small() {
    let multipath = |subflows| Protocol::Multipath {
        subflows,
        checksum: false,
    };
    let plain = idle(Protocol::Plain);
    let one = idle(multipath(1));
    let two = idle(multipath(2));
    println!("idle connection: TCP {plain} bytes, Multipath TCP {one}, two subflows {two}");
    assert!(two <= 2048, "{two} bytes with two subflows");
}
