//! The control socket: who may use it, what it answers, what it leaves behind.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch::control::server::{ControlSocket, Source};
use anabranch::control::{Answer, Connection, Request, Subflow, client};
use tokio::runtime::{Builder, Runtime};

/// A directory of its own for each test, removed with it.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Place {
        let path = std::env::temp_dir().join(format!("anabranch-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server with two connections.
struct Two;

impl Source for Two {
    fn connections(&self) -> Vec<Connection> {
        vec![connection("tcp"), connection("mptcp")]
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        BTreeMap::from([
            ("TcpInSegs".to_owned(), 7),
            ("TcpOutSegs".to_owned(), u64::MAX),
        ])
    }
}

fn connection(protocol: &str) -> Connection {
    let local = "192.0.2.1:80".parse().unwrap();
    let peer = "[2001:db8::1]:40000".parse().unwrap();
    Connection {
        token: None,
        id: "1.1".into(),
        scheduler: None,
        congestion: "cubic".into(),
        stuck: None,
        scheduling: BTreeMap::new(),
        version: None,
        protocol: protocol.into(),
        state: "ESTAB".into(),
        local,
        peer,
        recv_queue: 1,
        send_queue: 2,
        bytes_received: 3,
        bytes_acked: 4,
        subflows: vec![Subflow {
            state: "ESTAB".into(),
            local,
            peer,
            backup: true,
            srtt_us: None,
            cwnd: 5,
            in_flight: 6,
            bytes_sent: 7,
            bytes_received: 8,
            retransmissions: 9,
            tcp: Box::default(),
        }],
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs `ask`, which may block, against a server at `path`; stops the server, and gives the answer.
fn with_server<T: Send + 'static>(path: &Path, ask: impl FnOnce() -> T + Send + 'static) -> T {
    runtime().block_on(async {
        let control = ControlSocket::bind(path).unwrap();
        let server = tokio::spawn(control.serve(Arc::new(Two)));
        let answer = tokio::task::spawn_blocking(ask).await.unwrap();
        server.abort();
        assert!(server.await.unwrap_err().is_cancelled());
        answer
    })
}

fn ask(path: PathBuf, request: Request) -> impl FnOnce() -> Vec<Answer> {
    move || {
        let mut answers = Vec::new();
        client::ask(&path, &request, |answer| answers.push(answer)).unwrap();
        answers
    }
}

#[test]
fn connections_come_one_a_line() {
    let place = Place::new("connections");
    let answers = with_server(&place.socket(), ask(place.socket(), Request::Connections));
    let expected = Two
        .connections()
        .into_iter()
        .map(|c| Answer::Connection(Box::new(c)));
    assert_eq!(answers, expected.collect::<Vec<_>>());
}

#[test]
fn counters_come_by_name() {
    let place = Place::new("counters");
    let answers = with_server(&place.socket(), ask(place.socket(), Request::Counters));
    assert_eq!(answers, [Answer::Counters(Two.counters())]);
}

#[test]
fn the_lines_are_those_of_the_documentation() {
    let place = Place::new("lines");
    let path = place.socket();
    let lines = with_server(&place.socket(), move || {
        let mut stream = UnixStream::connect(path).unwrap();
        stream
            .write_all(b"{\"ask\":\"counters\"}\nnonsense\n{\"ask\":\"counters\"}\n")
            .unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        BufReader::new(stream)
            .lines()
            .map(Result::unwrap)
            .collect::<Vec<_>>()
    });
    let counters = "{\"counters\":{\"TcpInSegs\":7,\"TcpOutSegs\":18446744073709551615}}";
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert_eq!(lines[0], counters);
    assert_eq!(lines[1], "{\"end\":{\"lines\":1}}");
    assert!(lines[2].starts_with("{\"error\":\""), "{}", lines[2]);
    assert_eq!(lines[3], counters);
}

#[test]
fn a_request_without_end_is_refused() {
    let place = Place::new("endless");
    let path = place.socket();
    let line = with_server(&place.socket(), move || {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(&[b'x'; 4096]).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    });
    assert!(line.starts_with("{\"error\":"), "{line}");
}

#[test]
fn only_the_owner_may_ask_and_nothing_stays_behind() {
    let place = Place::new("mode");
    let path = place.socket();
    let (mode, beside) = with_server(&place.socket(), move || {
        let beside = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        (
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            beside,
        )
    });
    assert_eq!(mode, 0o600);
    assert_eq!(beside, 1);
    assert_eq!(std::fs::read_dir(&place.0).unwrap().count(), 0);
}

#[test]
fn a_socket_left_by_a_crash_is_replaced() {
    let place = Place::new("stale");
    drop(std::os::unix::net::UnixListener::bind(place.socket()).unwrap());
    assert!(place.socket().exists());
    let answers = with_server(&place.socket(), ask(place.socket(), Request::Counters));
    assert_eq!(answers.len(), 1);
}

#[test]
fn a_second_server_leaves_the_first_one_alone() {
    let place = Place::new("second");
    let path = place.socket();
    let answers = with_server(&place.socket(), move || {
        let inode = std::fs::metadata(&path).unwrap().ino();
        let second = runtime().block_on(async { ControlSocket::bind(&path) });
        assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
        ask(path, Request::Counters)()
    });
    assert_eq!(answers.len(), 1);
}

#[test]
fn what_is_no_server_is_told_in_one_line() {
    let place = Place::new("nothing");
    let none = client::ask(&place.socket(), &Request::Counters, |_| {}).unwrap_err();
    assert!(
        none.contains("anabranch serve") && !none.contains('\n'),
        "{none}"
    );
    std::fs::write(place.socket(), "a file").unwrap();
    let file = client::ask(&place.socket(), &Request::Counters, |_| {}).unwrap_err();
    assert!(
        file.contains("control.sock") && !file.contains('\n'),
        "{file}"
    );
}
