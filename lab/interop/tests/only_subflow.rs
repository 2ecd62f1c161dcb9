//! MP_FAIL on the only subflow, with Linux at the other end, in both roles (RFC 8684 §3.7): a
//! message is altered under a checksum, and the conversation goes on as plain TCP.
//!
//! Messages are small. On full segments Linux 6.18 puts its infinite mapping where there is no room
//! for it, and drops them itself, longer than the path takes: nobody can go on then.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use anabranch_interop::counters::Counters;
use anabranch_interop::fault::Fault;
use anabranch_interop::host::Host;
use anabranch_interop::require;
use anabranch_interop::scene::{PATIENCE, PORT};
use anabranch_interop::server::{Anabranch, program};
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::topology::{Side, Topology};

/// Bytes of a message: one packet, much smaller than a segment may be.
const MESSAGE: usize = 500;
/// Messages of a conversation; each waits for the answer to the one before.
const MESSAGES: u8 = 20;
/// Messages before the one that is altered.
const SPARED: u32 = 8;
const BACKEND_PORT: u16 = 9100;

fn with_checksums() -> Topology {
    let topology = Topology::new(1).unwrap();
    for host in [&topology.client, &topology.server] {
        host.run(|| fs::write("/proc/sys/net/mptcp/checksum_enabled", "1"))
            .unwrap();
    }
    topology
}

/// Sends back what the first connection to `port` sends, until it ends.
fn echo(host: &Host, protocol: Protocol, port: u16) -> JoinHandle<io::Result<()>> {
    let at = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener: TcpListener = host.run(|| socket::listen(protocol, at)).unwrap();
    thread::spawn(move || {
        let accepted = socket::accept_within(&listener, PATIENCE)?;
        let (mut stream, _) = accepted.ok_or(io::ErrorKind::TimedOut)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut message = [0; MESSAGE];
        loop {
            match stream.read(&mut message)? {
                0 => return Ok(()),
                n => stream.write_all(&message[..n])?,
            }
        }
    })
}

/// Has a conversation: which answers are not what was said, and how many of their bytes.
fn converse(mut to: impl Write, mut from: impl Read) -> Vec<(u8, usize)> {
    let mut wrong = Vec::new();
    for number in 0..MESSAGES {
        to.write_all(&[number; MESSAGE]).unwrap();
        to.flush().unwrap();
        let mut answer = [0; MESSAGE];
        from.read_exact(&mut answer)
            .unwrap_or_else(|e| panic!("message {number}: {e}"));
        let differ = answer.iter().filter(|&&byte| byte != number).count();
        if differ > 0 {
            wrong.push((number, differ));
        }
    }
    wrong
}

/// Exactly the message altered on its way differs, in exactly the altered bytes.
fn assert_only_the_altered(wrong: &[(u8, usize)], fault: &Fault<'_>) {
    assert_eq!(fault.counted("altered").unwrap(), 1);
    assert!(matches!(wrong, [(_, 2)]), "{wrong:?}");
}

/// Both ends said MP_FAIL once, and Linux heard ours.
fn assert_failed_once(kernel: &Counters, ours: impl Fn(&str) -> u64) {
    let counted = kernel.with_prefix("MPTcpExt");
    for name in ["MPTcpExtMPFailTx", "MPTcpExtMPFailRx"] {
        assert_eq!(
            (kernel.get(name), ours(name)),
            (1, 1),
            "{name}: {counted:?}"
        );
    }
    assert_eq!(kernel.get("MPTcpExtInfiniteMapRx"), 1, "{counted:?}");
    assert_eq!(ours("MPTcpExtInfiniteMapTx"), 1, "{counted:?}");
    assert_eq!(kernel.get("MPTcpExtMPRstRx"), 0, "{counted:?}");
}

/// A client of Linux, and `anabranch serve` in front of an echo. What the kernel counted.
fn serve(chain: &str) -> Counters {
    let topology = with_checksums();
    let backend = echo(&topology.server, Protocol::Tcp, BACKEND_PORT);
    let to = SocketAddr::from(([127, 0, 0, 1], BACKEND_PORT));
    let server = Anabranch::start(&topology.server, PORT, to, &[]).unwrap();
    let at = SocketAddr::new(topology.v4(Side::Server, 0), PORT);
    let counters = topology.client.run(|| {
        let before = Counters::read().unwrap();
        let stream = socket::connect(Protocol::Mptcp, None, at, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let fault = Fault::alter_once(&topology.server, chain, SPARED).unwrap();
        assert_only_the_altered(&converse(&stream, &stream), &fault);
        Counters::read().unwrap().since(&before)
    });
    backend.join().unwrap().unwrap();
    assert_failed_once(&counters, |name| server.counter(name).unwrap());
    counters
}

#[test]
fn what_linuxs_client_says_is_altered() {
    if !require::lab() {
        return;
    }
    assert_eq!(serve("in").get("MPTcpExtDataCsumErr"), 0);
}

#[test]
fn what_we_answer_is_altered() {
    if !require::lab() {
        return;
    }
    assert_eq!(serve("out").get("MPTcpExtDataCsumErr"), 1);
}

/// `anabranch connect`, and an echo of Linux. What the kernel counted, if ours fell back for this
/// reason.
fn connect(chain: &str, fallback: &str) -> Counters {
    let topology = with_checksums();
    let backend = echo(&topology.server, Protocol::Mptcp, PORT);
    let at = SocketAddr::new(topology.v4(Side::Server, 0), PORT);
    let mut child = spawn(&topology.client, at);
    let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let fault = Fault::alter_once(&topology.server, chain, SPARED).unwrap();
    assert_only_the_altered(&converse(to, from), &fault);
    let ended = child.wait_with_output().unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{log}");
    backend.join().unwrap().unwrap();
    let summary: serde_json::Value =
        serde_json::from_str(log.lines().last().unwrap_or_default()).unwrap();
    assert_eq!(summary["fallback"], fallback, "{log}");
    let counters = topology.server.run(Counters::read).unwrap();
    assert_failed_once(&counters, |name| {
        summary["counters"][name].as_u64().unwrap_or(0)
    });
    counters
}

fn spawn(host: &Host, at: SocketAddr) -> Child {
    let mut command = Command::new(program().unwrap());
    command
        .args(["connect", &at.to_string(), "--json", "--checksum"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    host.run(|| command.spawn()).unwrap()
}

#[test]
fn what_we_say_to_a_server_of_linux_is_altered() {
    if !require::lab() {
        return;
    }
    let kernel = connect("in", "the server asked for it");
    assert_eq!(kernel.get("MPTcpExtDataCsumErr"), 1);
}

#[test]
fn what_a_server_of_linux_answers_is_altered() {
    if !require::lab() {
        return;
    }
    let kernel = connect("out", "a checksum was wrong");
    assert_eq!(kernel.get("MPTcpExtDataCsumErr"), 0);
}
