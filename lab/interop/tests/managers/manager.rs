//! The path managers compared, and how each is told the same wish.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anabranch_interop::server::{Anabranch, program};
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::topology::{Side, Topology};
use anabranch_kernel::mptcp::{Endpoint, Flags, Limits, PathManager};

const PATIENCE: Duration = Duration::from_secs(10);
const MPTCPD: &str = "/usr/libexec/mptcpd";

/// What the client is to do with its addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    /// A subflow from the second address.
    Second,
    /// The same, as a backup.
    Backup,
    /// From each address to each of the server's.
    Mesh,
    /// The same, but two subflows and no more.
    MeshOfTwo,
    /// The second address for what the server announces only.
    Laminar,
    /// Nothing of its own: what the server announces is joined.
    Announced,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manager {
    Kernel,
    Mptcpd,
    OursByEndpoints,
    OursByConnection,
    OurStack,
}

impl Manager {
    pub(crate) const ALL: [Manager; 5] = [
        Manager::Kernel,
        Manager::Mptcpd,
        Manager::OursByEndpoints,
        Manager::OursByConnection,
        Manager::OurStack,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Manager::Kernel => "Linux's own",
            Manager::Mptcpd => "mptcpd",
            Manager::OursByEndpoints => "`pm --mode kernel`",
            Manager::OursByConnection => "`pm`",
            Manager::OurStack => "`connect`",
        }
    }
}

/// Whether mptcpd can be compared with; under CI it must be.
pub(crate) fn mptcpd_is_there() -> bool {
    if Path::new(MPTCPD).exists() {
        return true;
    }
    let reason = "there is no mptcpd (Debian packages mptcpd, mptcpd-plugins)";
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
    eprintln!("skipped: {reason}");
    false
}

/// The client's host with its manager at work.
pub(crate) struct Client {
    manager: Manager,
    wish: Wish,
    folder: PathBuf,
    _ours: Option<Anabranch>,
    theirs: Option<Child>,
}

/// A connection that is open as long as this lives.
pub(crate) enum Connection {
    Kernel {
        _ends: (TcpStream, TcpStream),
    },
    Stack {
        process: Child,
        server: Option<TcpStream>,
    },
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Connection::Stack { process, server } = self {
            // Both directions end, and so does the process, with what it has set up.
            drop(process.stdin.take());
            drop(server.take());
            let _ = process.wait();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(theirs) = &mut self.theirs {
            let _ = theirs.kill();
            let _ = theirs.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Client {
    /// Tells the manager the wish; `None` if it has no word for it.
    pub(crate) fn start(manager: Manager, wish: Wish, topology: &Topology) -> Option<Client> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("anabranch-managers-{}-{number}", std::process::id());
        let mut client = Client {
            manager,
            wish,
            folder: std::env::temp_dir().join(name),
            _ours: None,
            theirs: None,
        };
        fs::create_dir_all(&client.folder).unwrap();
        match manager {
            Manager::Kernel => client.tell_kernel(topology),
            Manager::Mptcpd => client.start_mptcpd(topology)?,
            Manager::OursByEndpoints => client.start_ours(topology, "kernel"),
            Manager::OursByConnection => client.start_ours(topology, "userspace"),
            Manager::OurStack => client.write_plan(topology),
        }
        Some(client)
    }

    fn tell_kernel(&self, topology: &Topology) {
        let second = topology.v4(Side::Client, 1);
        let flags = match self.wish {
            Wish::Second => Some(Flags::SUBFLOW),
            Wish::Backup => Some(Flags::SUBFLOW | Flags::BACKUP),
            Wish::Mesh | Wish::MeshOfTwo => Some(Flags::SUBFLOW | Flags::FULLMESH),
            Wish::Laminar => Some(Flags::LAMINAR),
            Wish::Announced => None,
        };
        topology.client.run(|| {
            let manager = PathManager::open().unwrap();
            manager.set_limits(self.limits()).unwrap();
            if let Some(flags) = flags {
                manager.add(&Endpoint::new(second, flags)).unwrap();
            }
            if matches!(self.wish, Wish::Mesh | Wish::MeshOfTwo) {
                let first = topology.v4(Side::Client, 0);
                manager.add(&Endpoint::new(first, flags.unwrap())).unwrap();
            }
        });
    }

    fn limits(&self) -> Limits {
        Limits {
            subflows: if self.wish == Wish::MeshOfTwo { 1 } else { 8 },
            add_addr_accepted: 8,
        }
    }

    /// Its flags are for all addresses alike.
    fn start_mptcpd(&mut self, topology: &Topology) -> Option<()> {
        let flags = match self.wish {
            Wish::Second => "subflow",
            Wish::Backup => "subflow,backup",
            Wish::Mesh | Wish::MeshOfTwo => "subflow,fullmesh",
            Wish::Laminar | Wish::Announced => return None,
        };
        topology.client.run(|| {
            // It leaves limits as they are.
            PathManager::open()
                .unwrap()
                .set_limits(self.limits())
                .unwrap();
        });
        let mut command = Command::new(MPTCPD);
        command
            .args(["--path-manager=addr_adv", "--log=stderr"])
            .arg(format!("--addr-flags={flags}"))
            .arg("--notify-flags=existing,skip_link_local,skip_loopback")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.theirs = Some(topology.client.run(|| command.spawn().unwrap()));
        let second = topology.v4(Side::Client, 1);
        crate::scene::until("mptcpd knows the addresses", || {
            let endpoints = topology.client.run(|| PathManager::open()?.endpoints());
            endpoints.is_ok_and(|all| all.iter().any(|it| it.address == second))
        });
        Some(())
    }

    fn start_ours(&mut self, topology: &Topology, mode: &str) {
        self.write_plan(topology);
        let plan = self.plan();
        let arguments = ["--mode", mode, "--config", plan.to_str().unwrap()];
        self._ours = Some(Anabranch::manage(&topology.client, &self.folder, &arguments).unwrap());
    }

    fn plan(&self) -> PathBuf {
        self.folder.join("paths.toml")
    }

    fn write_plan(&self, topology: &Topology) {
        let second = topology.v4(Side::Client, 1);
        let text = match self.wish {
            Wish::Second => "[policy]\nkind = \"one-each\"\n".to_owned(),
            Wish::Backup => format!(
                "[policy]\nkind = \"one-each\"\n\
                 [[interface]]\nnetwork = \"{second}\"\nbackup = true\n"
            ),
            Wish::Mesh => "[policy]\nkind = \"fullmesh\"\n".to_owned(),
            Wish::MeshOfTwo => {
                "[policy]\nkind = \"fullmesh\"\n[policy.limits]\nsubflow = 1\n".to_owned()
            }
            Wish::Laminar => format!(
                "[policy]\nkind = \"endpoints\"\n\
                 [[endpoint]]\naddress = \"{second}\"\nflags = [\"laminar\"]\n"
            ),
            Wish::Announced => "[policy]\nkind = \"endpoints\"\n".to_owned(),
        };
        fs::write(self.plan(), text).unwrap();
    }

    /// Opens the connection, and moves a byte both ways.
    pub(crate) fn connect(
        &self,
        topology: &Topology,
        to: SocketAddr,
        listener: &TcpListener,
    ) -> Connection {
        if self.manager == Manager::OurStack {
            return self.connect_ours(topology, to, listener);
        }
        let client = topology
            .client
            .run(|| socket::connect(Protocol::Mptcp, None, to, PATIENCE).unwrap());
        let (server, _) = socket::accept_within(listener, PATIENCE).unwrap().unwrap();
        for (mut from, mut to) in [(&client, &server), (&server, &client)] {
            from.write_all(b"1").unwrap();
            to.read_exact(&mut [0]).unwrap();
        }
        Connection::Kernel {
            _ends: (client, server),
        }
    }

    fn connect_ours(
        &self,
        topology: &Topology,
        to: SocketAddr,
        listener: &TcpListener,
    ) -> Connection {
        let mut command = Command::new(program().unwrap());
        command
            .args(["connect", &to.to_string(), "--paths"])
            .arg(self.plan())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = topology.client.run(|| command.spawn().unwrap());
        let accepted = socket::accept_within(listener, PATIENCE).unwrap();
        let (mut server, _) = accepted.expect("a connection of ours");
        process.stdin.as_mut().unwrap().write_all(b"1").unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        server.read_exact(&mut [0]).unwrap();
        server.write_all(b"1").unwrap();
        process
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut [0])
            .unwrap();
        Connection::Stack {
            process,
            server: Some(server),
        }
    }
}
