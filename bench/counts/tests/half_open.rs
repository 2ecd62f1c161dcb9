//! What a handshake that is not proven holds of memory, as the allocator counts it: a flood of SYNs
//! fills a backlog with as much.

use anabranch_counts::world::{Protocol, World, frames, packets};

#[global_allocator]
static HEAP: anabranch_heap::Counting = anabranch_heap::Counting;

/// Tables are as full as with eight times as many: what they leave unused counts too.
const HANDSHAKES: usize = 12_500;

/// Bytes that a server holds for each SYN that it has answered.
fn half_open(protocol: Protocol) -> usize {
    let mut world = World::new(protocol);
    for n in 0..HANDSHAKES {
        world.begin(n);
    }
    let syns = frames(&packets(&mut world.client, world.now));
    for syn in syns {
        world.server.receive(world.now, syn);
        assert_eq!(packets(&mut world.server, world.now).len(), 1);
    }
    assert_eq!(world.server.connections().count(), HANDSHAKES);
    let before = anabranch_heap::held();
    drop(world.server);
    (before - anabranch_heap::held()) / HANDSHAKES
}

/// One test, for there is one heap.
#[test]
fn a_half_open_connection_is_small() {
    let plain = half_open(Protocol::Plain);
    let multipath = half_open(Protocol::Multipath {
        subflows: 1,
        checksum: false,
    });
    println!("half-open connection: TCP {plain} bytes, Multipath TCP {multipath}");
    assert!(multipath <= 640, "{multipath} bytes of a handshake");
}
