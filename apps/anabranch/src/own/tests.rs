//! What goes together.

use super::*;

fn args(mode: Mode, addresses: &[&str], gateways: &[&str]) -> AttachArgs {
    AttachArgs {
        attach: mode,
        address: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        gateway: gateways.iter().map(|text| text.parse().unwrap()).collect(),
        ..AttachArgs::default()
    }
}

#[test]
fn an_address_names_its_prefix_and_its_interface() {
    let address: OwnAddress = "2001:db8::7/64%eth0".parse().unwrap();
    assert_eq!(address.interface, "eth0");
    assert_eq!(address.to_string(), "2001:db8::7/64%eth0");
    for wrong in [
        "192.0.2.7/24",
        "192.0.2.7%eth0",
        "192.0.2.7/24%",
        "x/24%eth0",
    ] {
        assert!(wrong.parse::<OwnAddress>().is_err(), "{wrong}");
    }
}

#[test]
fn addresses_of_one_interface_go_together() {
    let own = ["192.0.2.7/24%a", "198.51.100.7/24%b", "2001:db8::7/64%a"];
    let args = args(Mode::Packet, &own, &[]);
    let interfaces = args.interfaces();
    let shape: Vec<_> = interfaces
        .iter()
        .map(|(name, own)| (*name, own.len()))
        .collect();
    assert_eq!(shape, [("a", 2), ("b", 1)]);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let own = "192.0.2.7/24%eth0";
    assert!(args(Mode::Tun, &[], &[]).check().is_ok());
    assert!(args(Mode::Tun, &[own], &[]).check().is_err());
    assert!(args(Mode::Tun, &[], &["192.0.2.1"]).check().is_err());
    assert!(args(Mode::Packet, &[], &[]).check().is_err());
    assert!(args(Mode::Packet, &[own, own], &[]).check().is_err());
    assert!(
        args(Mode::Packet, &[own], &["198.51.100.1"])
            .check()
            .is_err()
    );
    assert!(args(Mode::Packet, &[own], &["192.0.2.1"]).check().is_ok());
    let mac = Some("02:00:00:00:00:07".parse().unwrap());
    let with_mac = |args| AttachArgs { mac, ..args };
    assert!(with_mac(args(Mode::Tun, &[], &[])).check().is_err());
    assert!(with_mac(args(Mode::Packet, &[own], &[])).check().is_ok());
    let with_rps = |args| AttachArgs {
        rps: Rps::Cpus(vec![0]),
        ..args
    };
    assert!(with_rps(args(Mode::Tun, &[], &[])).check().is_ok());
    assert!(with_rps(args(Mode::Packet, &[own], &[])).check().is_err());
}
