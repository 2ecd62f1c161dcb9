//! Who manages paths.

use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anabranch_interop::server::{Anabranch, program};
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::topology::Topology;
use anabranch_kernel::mptcp::{Endpoint, Flags, PathManager};

use crate::traffic::{End, Traffic};
use crate::view::View;
use crate::world::{LINKS, PORT, client, server};

const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const CONNECTIONS: usize = 2;
const BACKEND: u16 = 7731;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Engine {
    /// `anabranch connect` and `serve`.
    OurStack,
    /// Linux at both ends, the client's with `anabranch pm`.
    Pm,
    /// The same with `--mode kernel`.
    PmByEndpoints,
    /// The same with endpoints that somebody has set.
    Kernel,
}

/// An engine at work.
pub(crate) struct Running {
    listener: TcpListener,
    serve: Option<Anabranch>,
    pm: Option<Anabranch>,
    connects: Vec<Child>,
    folder: PathBuf,
}

impl Running {
    pub(crate) fn start(engine: Engine, topology: &Topology) -> Running {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("anabranch-flaps-{}-{number}", std::process::id());
        let (protocol, port) = match engine {
            Engine::OurStack => (Protocol::Tcp, BACKEND),
            _ => (Protocol::Mptcp, PORT),
        };
        let at = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        let listen = || socket::listen(protocol, at).unwrap();
        let mut running = Running {
            listener: topology.server.run(listen),
            serve: None,
            pm: None,
            connects: Vec::new(),
            folder: std::env::temp_dir().join(name),
        };
        std::fs::create_dir_all(&running.folder).unwrap();
        running.manage(engine, topology);
        running
    }

    fn manage(&mut self, engine: Engine, topology: &Topology) {
        let pm = |arguments: &[&str]| {
            Anabranch::manage(&topology.client, &self.folder, arguments).unwrap()
        };
        match engine {
            Engine::OurStack => {
                let to = SocketAddr::from((Ipv4Addr::LOCALHOST, BACKEND));
                let arguments = ["--threads".to_owned(), "1".to_owned()];
                let started = Anabranch::start(&topology.server, PORT, to, &arguments);
                self.serve = Some(started.unwrap());
            }
            Engine::Pm => self.pm = Some(pm(&["--policy", "one-each"])),
            Engine::PmByEndpoints => {
                self.pm = Some(pm(&["--mode", "kernel", "--policy", "one-each"]));
            }
            Engine::Kernel => topology.client.run(|| {
                let manager = PathManager::open().unwrap();
                for link in 0..LINKS {
                    let address = client(topology, link);
                    manager
                        .add(&Endpoint::new(address, Flags::SUBFLOW))
                        .unwrap();
                }
            }),
        }
    }

    /// Opens one connection more, and has bytes go over it.
    pub(crate) fn connect(&mut self, topology: &Topology, seed: u64) -> Traffic {
        let near = match self.serve {
            Some(_) => self.connect_ours(topology),
            None => {
                let from = Some(client(topology, 0));
                let connect = || socket::connect(Protocol::Mptcp, from, server(), PATIENCE);
                of_socket(topology.client.run(connect).unwrap())
            }
        };
        let accepted = socket::accept_within(&self.listener, PATIENCE).unwrap();
        let (far, _) = accepted.expect("a connection");
        Traffic::start(seed, near, of_socket(far))
    }

    /// What our stack is told: the last link is used from an address that only this program has, and
    /// that the kernel translates.
    fn paths(&self) -> PathBuf {
        let path = self.folder.join("paths.toml");
        let dev = format!("link{}", LINKS - 1);
        let text = format!(
            "[[endpoint]]\naddress = \"10.98.0.1\"\ndev = \"{dev}\"\nflags = [\"subflow\"]\n\
             [[interface]]\nname = \"{dev}\"\nnetwork = \"10.77.0.0/16\"\nallow = false\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    fn connect_ours(&mut self, topology: &Topology) -> End {
        let mut command = Command::new(program().unwrap());
        command
            .args(["connect", &server().to_string(), "--paths"])
            .arg(self.paths())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = topology.client.run(|| command.spawn().unwrap());
        let writer = Box::new(process.stdin.take().unwrap());
        let reader = Box::new(process.stdout.take().unwrap());
        self.connects.push(process);
        End {
            writer,
            reader,
            // Standard input ends when it is dropped.
            close: Box::new(|| ()),
        }
    }

    pub(crate) fn view<'a>(&self, topology: &'a Topology) -> View<'a> {
        match &self.serve {
            Some(serve) => View::own(serve.control()),
            None => View::Kernel(topology),
        }
    }

    /// Every process that is ours.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let daemons = self.serve.iter().chain(&self.pm).map(Anabranch::pid);
        daemons.chain(self.connects.iter().map(Child::id)).collect()
    }

    /// Ends all of it, in order.
    pub(crate) fn stop(mut self) {
        for process in &mut self.connects {
            assert!(process.wait().unwrap().success());
        }
        for daemon in self.serve.iter_mut().chain(&mut self.pm) {
            daemon.terminate().unwrap();
            assert!(daemon.wait(PATIENCE).unwrap().success(), "{}", daemon.log());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for process in &mut self.connects {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn of_socket(stream: TcpStream) -> End {
    let [writer, reader] = [(); 2].map(|()| Box::new(stream.try_clone().unwrap()));
    End {
        writer,
        reader,
        close: Box::new(move || stream.shutdown(Shutdown::Write).unwrap()),
    }
}
