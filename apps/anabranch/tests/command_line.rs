//! What the command says of a command line, and with which exit code.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

fn anabranch(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anabranch"))
        .args(args)
        .env_remove("RUST_LOG")
        .output()
        .expect("the binary was built for this test")
}

/// Runs `args`, expects exit code 2 and one line on standard error that contains each of `names`.
#[track_caller]
fn refused(args: &[&str], names: &[&str]) {
    let output = anabranch(args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
    assert!(text.starts_with("error: "), "{args:?}: {text}");
    for name in names {
        assert!(text.contains(name), "{args:?} should name {name}: {text}");
    }
    assert!(output.stdout.is_empty(), "{args:?}");
}

fn shown(args: &[&str]) -> String {
    let output = anabranch(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}");
    assert!(output.stderr.is_empty(), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn no_command_or_an_unknown_one() {
    refused(&[], &["--help"]);
    refused(&["sreve"], &["sreve"]);
    refused(&["--frobnicate"], &["--frobnicate"]);
}

#[test]
fn serve_needs_a_port_and_a_service() {
    refused(&["serve"], &["--listen", "--to"]);
    refused(&["serve", "--listen", "80"], &["--to"]);
    refused(&["serve", "--to", "127.0.0.1:80"], &["--listen"]);
}

#[test]
fn every_port_has_its_service() {
    let two_ports = [
        "serve",
        "--listen",
        "80",
        "--listen",
        "81",
        "--to",
        "127.0.0.1:1",
    ];
    refused(&two_ports, &["--listen port 81", "no --to"]);
    let two_services = [
        "serve",
        "--listen",
        "80",
        "--to",
        "127.0.0.1:1",
        "--to",
        "127.0.0.1:2",
    ];
    refused(&two_services, &["--to 127.0.0.1:2", "no --listen"]);
}

#[test]
fn a_port_is_served_once() {
    let once = ["--listen", "192.0.2.1:80", "--to", "127.0.0.1:1"];
    let twice = [&["serve"], &once[..], &once[..]].concat();
    refused(&twice, &["--listen 192.0.2.1:80", "twice"]);
}

#[test]
fn what_can_be_listened_on() {
    let wrong = [
        "http",
        "0",
        "65536",
        "-1",
        "",
        "80:",
        "localhost:80",
        "192.0.2.1",
        "192.0.2.1:0",
        "2001:db8::1",
        "2001:db8::1:80",
        "[2001:db8::1]",
        "224.0.0.1:80",
        "127.0.0.1:80",
    ];
    for wrong in wrong {
        let listen = format!("--listen={wrong}");
        refused(&["serve", &listen, "--to", "127.0.0.1:1"], &["--listen"]);
    }
}

#[test]
fn what_can_be_forwarded_to() {
    let wrong = [
        "80",
        "",
        ":80",
        "host",
        "host:",
        "host:http",
        "host:0",
        "2001:db8::1:80",
        "[::1]",
        "[::1:80",
        "two words:80",
    ];
    for wrong in wrong {
        refused(
            &["serve", "--listen", "80", &format!("--to={wrong}")],
            &["--to"],
        );
    }
}

#[test]
fn a_service_that_has_no_address() {
    // A label of more than 63 characters (RFC 1035 §2.3.4): no name server is asked for it.
    let nowhere = format!("{}:80", "a".repeat(64));
    refused(
        &["serve", "--listen", "80", "--to", &nowhere],
        &["--to", &nowhere],
    );
}

#[test]
fn what_can_be_announced() {
    let wrong = [
        "",
        "example.org",
        "192.0.2.1:80",
        "192.0.2.0/24",
        "127.0.0.1",
        "::",
        "ff02::1",
    ];
    for wrong in wrong {
        let announce = format!("--announce={wrong}");
        refused(
            &["serve", "--listen", "80", "--to", "127.0.0.1:1", &announce],
            &["--announce"],
        );
    }
}

#[test]
fn limits_and_names() {
    let wrong = [
        ("--mtu", "1279"),
        ("--mtu", "65536"),
        ("--mtu", "big"),
        ("--tun", ""),
        ("--tun", "sixteen-bytes-00"),
        ("--tun", "a/b"),
        ("--max-connections", "0"),
        ("--max-connections", "many"),
        ("--memory", "1"),
        ("--memory", "1T"),
        ("--memory", "99999999999G"),
        ("--congestion", "vegas"),
        ("--drain", "-1"),
        ("--drain", "soon"),
    ];
    for (name, value) in wrong {
        let limit = format!("{name}={value}");
        refused(
            &["serve", "--listen", "80", "--to", "127.0.0.1:1", &limit],
            &[name],
        );
    }
}

#[test]
fn without_the_capability_one_line_says_what_to_do() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch"));
    command.args(["serve", "--listen", "80", "--to", "127.0.0.1:1"]);
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        // Nobody has no capability.
        command.uid(65_534);
    }
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return eprintln!("skipped: only root may run the binary where it lies: {error}");
        }
        output => output.unwrap(),
    };
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in ["CAP_NET_ADMIN", "sudo", "setcap", "AmbientCapabilities"] {
        assert!(text.contains(word), "{word} is missing in {text}");
    }
}

#[test]
fn a_service_that_is_the_server_itself() {
    // The address that this host would connect from.
    let address = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // TEST-NET-1 (RFC 5737): connecting a datagram socket sends nothing.
    if address.connect("192.0.2.1:9").is_err() {
        return eprintln!("skipped: this host has no address but the loopback's");
    }
    let own = format!("{}:80", address.local_addr().unwrap().ip());
    refused(
        &["serve", "--listen", "80", "--to", &own],
        &["--to", &own, "itself"],
    );
    refused(
        &["serve", "--listen", &own, "--to", &own],
        &["--to", &own, "itself"],
    );
}

#[test]
fn ss_takes_no_operands() {
    refused(&["ss", "80"], &["80"]);
}

#[test]
fn without_a_server_ss_says_where_it_looked() {
    let output = anabranch(&["ss", "--control", "/nonexistent/control.sock"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.contains("/nonexistent/control.sock") && text.contains("serve"),
        "{text}"
    );
}

#[test]
fn version_and_help() {
    assert_eq!(
        shown(&["--version"]),
        format!("anabranch {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = shown(&["--help"]);
    assert!(
        help.contains("serve") && help.contains("ss") && help.contains("Exit codes"),
        "{help}"
    );
    let serve = shown(&["serve", "--help"]);
    let told = [
        "--listen",
        "--to",
        "--announce",
        "--tun",
        "--mtu",
        "--control",
        "--max-connections",
        "--memory",
        "--congestion",
        "--drain",
        "CAP_NET_ADMIN",
        "Example",
        "Exit codes",
    ];
    for name in told {
        assert!(serve.contains(name), "{name} is missing in {serve}");
    }
    assert!(shown(&["ss", "--help"]).contains("--json"));
}
