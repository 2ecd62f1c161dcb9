//! Namespaces: separate, named where asked, and gone afterwards.

#[macro_use]
mod common {
    #[macro_use]
    mod root;
    pub(crate) use root::root;
}

use anabranch_kernel::{Error, Netlink, Netns, counters, sysctl};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;

#[test]
fn a_new_namespace_has_only_loopback_and_it_is_up() {
    require_root!();
    let netns = Netns::new().unwrap();
    let links = netns
        .run(|| Netlink::open().unwrap().links().unwrap())
        .unwrap();
    let loopback = links.iter().find(|link| link.loopback).unwrap();
    assert!(loopback.up);
    assert!(links.iter().all(|link| link.loopback || !link.up));
    assert_ne!(
        netns.inode().unwrap(),
        Netns::current().unwrap().inode().unwrap()
    );
}

#[test]
fn the_calling_thread_stays_where_it_was() {
    require_root!();
    let before = Netns::current().unwrap().inode().unwrap();
    let netns = Netns::new().unwrap();
    let inside = netns
        .run(|| Netns::current().unwrap().inode().unwrap())
        .unwrap();
    assert_eq!(inside, netns.inode().unwrap());
    assert_eq!(Netns::current().unwrap().inode().unwrap(), before);
}

#[test]
fn a_spawned_process_lives_in_the_namespace() {
    require_root!();
    let netns = Netns::new().unwrap();
    let mut command = Command::new("readlink");
    let command = command
        .arg("/proc/self/ns/net")
        .stdout(std::process::Stdio::piped());
    let output = netns.spawn(command).unwrap().wait_with_output().unwrap();
    let expected = format!("net:[{}]\n", netns.inode().unwrap());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn a_name_is_there_while_the_namespace_is_held() {
    require_root!();
    let name = format!("anabranch-test-{}", std::process::id());
    let path = Path::new("/run/netns").join(&name);
    let netns = Netns::named(&name).unwrap();
    assert!(path.exists());
    let taken = Netns::named(&name).unwrap_err();
    assert!(matches!(taken, Error::Taken { .. }), "{taken}");
    assert_eq!(netns.to_string(), format!("network namespace {name}"));
    drop(netns);
    assert!(!path.exists());
}

#[test]
fn names_that_are_paths_are_refused() {
    for name in ["", "..", "a/b", ".hidden"] {
        let error = Netns::named(name).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{name}: {error}");
    }
}

#[test]
fn sysctls_belong_to_the_namespace() {
    require_root!();
    let here = sysctl::read("net/ipv4/ip_default_ttl").unwrap();
    let netns = Netns::new().unwrap();
    netns
        .run(|| {
            assert_eq!(
                sysctl::replace("net/ipv4/ip_default_ttl", "33").unwrap(),
                "64"
            );
            assert_eq!(sysctl::read("net/ipv4/ip_default_ttl").unwrap(), "33");
            let missing = sysctl::write("net/ipv4/no_such", "1").unwrap_err();
            assert_eq!(
                missing.to_string(),
                "there is no sysctl named net/ipv4/no_such"
            );
        })
        .unwrap();
    assert_eq!(sysctl::read("net/ipv4/ip_default_ttl").unwrap(), here);
}

#[test]
fn sysctls_outside_their_folder_are_refused() {
    for name in ["", "/etc/passwd", "net/../../../etc/passwd"] {
        assert!(
            matches!(sysctl::read(name).unwrap_err(), Error::Invalid(_)),
            "{name}"
        );
    }
}

#[test]
fn counters_belong_to_the_namespace() {
    require_root!();
    let netns = Netns::new().unwrap();
    netns
        .run(|| {
            let before = counters::read().unwrap();
            assert!(before.contains_key("TcpExtTCPTimeouts"));
            // Refused by a reset, and by a port unreachable.
            TcpStream::connect("127.0.0.1:9").unwrap_err();
            let socket = UdpSocket::bind("[::1]:0").unwrap();
            socket.send_to(b"x", "[::1]:9").unwrap();
            let added = counters::difference(&before, &counters::read().unwrap());
            assert_eq!(added.get("TcpOutRsts"), Some(&1));
            assert_eq!(added.get("TcpAttemptFails"), Some(&1));
            assert_eq!(added.get("Icmp6OutDestUnreachs"), Some(&1));
        })
        .unwrap();
}
