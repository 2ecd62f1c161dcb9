//! A server that tells a client of Linux's to give up a path that died.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_interop::counters::Counters;
use anabranch_interop::fault::Fault;
use anabranch_interop::require;
use anabranch_interop::scene::{PATIENCE, PORT, alone};
use anabranch_interop::server::Anabranch;
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::topology::{Side, Topology};

const ECHO_PORT: u16 = 9200;
const MESSAGE: usize = 64;

/// A service that gives back what it gets.
fn echo() {
    let listener = TcpListener::bind(("127.0.0.1", ECHO_PORT)).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                // A client that goes away ends it.
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..read]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// A client that says something every 10 ms, and holds what comes back against it.
struct Talk {
    stream: TcpStream,
    said: u64,
}

impl Talk {
    fn with(topology: &Topology) -> Talk {
        let to = SocketAddr::new(topology.v4(Side::Server, 0), PORT);
        let client = &topology.client;
        let stream = client.run(|| socket::connect(Protocol::Mptcp, None, to, PATIENCE));
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Talk { stream, said: 0 }
    }

    fn message(n: u64) -> [u8; MESSAGE] {
        std::array::from_fn(|i| (n.wrapping_mul(0x9e37_79b9) >> (i % 24)) as u8)
    }

    /// Until `done`, of which it is asked every tenth message.
    fn until(&mut self, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut heard = self.said;
        let mut reader = self.stream.try_clone().unwrap();
        while !done() {
            assert!(Instant::now() < deadline, "it does not come to that");
            for _ in 0..10 {
                self.stream.write_all(&Talk::message(self.said)).unwrap();
                self.said += 1;
                thread::sleep(Duration::from_millis(10));
            }
        }
        while heard < self.said {
            let mut message = [0; MESSAGE];
            reader.read_exact(&mut message).unwrap();
            assert!(
                message == Talk::message(heard),
                "another message than {heard}"
            );
            heard += 1;
        }
    }
}

/// What the server counted, and how many subflows it has.
fn shown(server: &Anabranch) -> (serde_json::Value, usize) {
    let all = server.connections().unwrap();
    let connection = all
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|it| it["protocol"] == "mptcp");
    let connection = connection.unwrap_or_default();
    let established = |it: &&serde_json::Value| it["state"] == "ESTAB";
    let subflows = connection["subflows"].as_array();
    let open = subflows.map_or(0, |all| all.iter().filter(established).count());
    (connection["scheduling"].clone(), open)
}

/// The path over the first link (the initial subflow) or the second (an announced address) dies.
fn given_up(dies: usize) {
    let topology = Topology::new(2).unwrap();
    topology.server.run(echo);
    let second = topology.v4(Side::Server, 1).to_string();
    let arguments = ["--announce", &second];
    let server = Anabranch::start(
        &topology.server,
        PORT,
        SocketAddr::from(([127, 0, 0, 1], ECHO_PORT)),
        &arguments.map(str::to_owned),
    );
    let server = server.unwrap();
    let mut talk = Talk::with(&topology);
    talk.until(|| shown(&server).1 == 2);
    let fault = Fault::blackhole(&topology.server, &topology.interface(dies)).unwrap();
    talk.until(|| shown(&server).0["given_up"] == 1);
    let removed = || {
        topology
            .client
            .run(Counters::read)
            .unwrap()
            .get("MPTcpExtRmAddr")
    };
    talk.until(|| removed() > 0);
    // Every message came back since, over the other path.
    talk.until(|| shown(&server).0["given_up"] == 1);
    drop(fault);
    talk.until(|| shown(&server).0["given_back"] == 1);
    talk.until(|| shown(&server).1 == 2);
}

#[test]
fn linux_gives_up_a_path_that_died_and_joins_it_again() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    (0..2).for_each(given_up);
}
