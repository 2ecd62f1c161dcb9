//! What a killed process leaves behind, and that the next start removes it.
//!
//! Without the standard harness: this program is also the process that gets killed.

#[macro_use]
mod common {
    #[macro_use]
    mod root;
    pub(crate) use root::root;
    pub(crate) mod host;
}

use anabranch_kernel::rule::Action;
use anabranch_kernel::{Attach, Netlink, Netns, route};
use common::host::{Hosts, picture, tun};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

const HOLD: &str = "ANABRANCH_TEST_HOLD";

fn main() {
    if let Some(folder) = std::env::var_os(HOLD) {
        return hold(folder.into());
    }
    require_root!();
    let tests: [(&str, fn()); 4] = [
        (
            "a_crash_gives_the_ports_back_to_the_kernel",
            a_crash_gives_the_ports_back_to_the_kernel,
        ),
        (
            "the_next_start_removes_what_is_left",
            the_next_start_removes_what_is_left,
        ),
        (
            "one_who_lives_is_not_disturbed",
            one_who_lives_is_not_disturbed,
        ),
        (
            "a_lost_account_is_made_up_for",
            a_lost_account_is_made_up_for,
        ),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
}

/// Holds port 8000 until killed.
fn hold(state_dir: std::path::PathBuf) {
    let tun = tun();
    let mut config = anabranch_kernel::AttachConfig::new(tun.name(), [8000..=8000]);
    config.state_dir = state_dir;
    let _attach = Attach::install(config).unwrap();
    println!("held");
    loop {
        std::thread::park();
    }
}

/// A process that holds port 8000, in the server's namespace.
fn holder(hosts: &Hosts) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = hosts
        .server
        .spawn(command.env(HOLD, &hosts.folder.0).stdout(Stdio::piped()))
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "held\n");
    child
}

fn killed(hosts: &Hosts) {
    let mut child = holder(hosts);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn kernel_serves(server: &Netns, client: &Netns, address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let _listener = server.run(|| TcpListener::bind(address).unwrap()).unwrap();
    client.run(|| TcpStream::connect(address).unwrap()).unwrap();
}

fn a_crash_gives_the_ports_back_to_the_kernel() {
    let hosts = Hosts::new();
    killed(&hosts);
    for address in ["10.1.0.1:8000", "[fd02::1]:8000"] {
        kernel_serves(&hosts.server, &hosts.client, address);
    }
}

fn the_next_start_removes_what_is_left() {
    let hosts = Hosts::new();
    let before = hosts.server.run(picture).unwrap();
    killed(&hosts);
    hosts
        .server
        .run(|| {
            assert_ne!(picture(), before);
            assert_eq!(Attach::recover(&hosts.folder.0).unwrap(), 1);
            assert_eq!(picture(), before);
            assert_eq!(Attach::recover(&hosts.folder.0).unwrap(), 0);
        })
        .unwrap();
    killed(&hosts);
    hosts
        .server
        .run(|| {
            // Its port is free again, too.
            let (tun, attach) = hosts.attach(8000..=8000);
            drop((tun, attach));
            assert_eq!(picture(), before);
        })
        .unwrap();
}

fn one_who_lives_is_not_disturbed() {
    let hosts = Hosts::new();
    let before = hosts.server.run(picture).unwrap();
    let mut living = holder(&hosts);
    hosts
        .server
        .run(|| {
            let held = picture();
            let (tun, attach) = hosts.attach(8100..=8100);
            drop(tun);
            assert_eq!(Attach::recover(&hosts.folder.0).unwrap(), 0, "both live");
            drop(attach);
            assert_eq!(picture(), held);
        })
        .unwrap();
    living.kill().unwrap();
    living.wait().unwrap();
    hosts
        .server
        .run(|| {
            let (tun, attach) = hosts.attach(8000..=8000);
            drop((tun, attach));
            assert_eq!(picture(), before);
        })
        .unwrap();
}

fn a_lost_account_is_made_up_for() {
    let hosts = Hosts::new();
    let before = hosts
        .server
        .run(|| Netlink::open().unwrap().rules().unwrap())
        .unwrap();
    killed(&hosts);
    std::fs::remove_dir_all(&hosts.folder.0).unwrap();
    hosts
        .server
        .run(|| {
            Attach::recover(&hosts.folder.0).unwrap();
            let rules = Netlink::open().unwrap().rules().unwrap();
            assert_eq!(rules, before);
            let first = &rules[0];
            assert_eq!(
                (first.preference, first.action),
                (0, Action::Lookup(route::LOCAL))
            );
        })
        .unwrap();
}
