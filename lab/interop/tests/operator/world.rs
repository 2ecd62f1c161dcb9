//! A connection of `anabranch connect` to Linux, kept open, and one of Linux to `anabranch serve`.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use anabranch_interop::counters::Counters;
pub(crate) use anabranch_interop::eventually::{Folder, PATIENCE, eventually};
use anabranch_interop::server::program;
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::topology::{Side, Topology};
use anabranch_kernel::mptcp::sockets::{self, Subflow};

pub(crate) const PORT: u16 = 7740;

/// What `anabranch` prints and how it ends.
pub(crate) fn anabranch(words: &[&str]) -> Output {
    Command::new(program().unwrap())
        .args(words)
        .output()
        .unwrap()
}

/// Standard output of a command that must succeed.
pub(crate) fn printed(words: &[&str]) -> String {
    let output = anabranch(words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// `anabranch connect --paths FILE --control SOCKET` to a server of Linux.
pub(crate) struct World {
    pub(crate) topology: Topology,
    pub(crate) folder: Folder,
    process: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    server: TcpStream,
    /// Linux takes joins where somebody listens.
    _listener: TcpListener,
}

impl World {
    /// With two links, and this file.
    pub(crate) fn new(text: &str) -> World {
        let (topology, folder) = (Topology::new(2).unwrap(), Folder::new());
        let at = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT);
        let listen = || socket::listen(Protocol::Mptcp, at).unwrap();
        let listener = topology.server.run(listen);
        let to = SocketAddr::new(topology.v4(Side::Server, 0), PORT);
        let mut command = Command::new(program().unwrap());
        command
            .args(["connect", &to.to_string(), "--paths"])
            .arg(folder.write("paths.toml", text))
            .arg("--control")
            .arg(folder.path().join("control.sock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = topology.client.run(|| command.spawn().unwrap());
        let (input, output) = (process.stdin.take(), process.stdout.take().unwrap());
        let accepted = socket::accept_within(&listener, PATIENCE).unwrap();
        let (server, _) = accepted.expect("a connection");
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut world = World {
            topology,
            folder,
            process,
            input,
            output,
            server,
            _listener: listener,
        };
        world.carry();
        world
    }

    /// A byte both ways: the connection lives.
    pub(crate) fn carry(&mut self) {
        self.input.as_mut().unwrap().write_all(b"1").unwrap();
        self.server.read_exact(&mut [0]).unwrap();
        self.server.write_all(b"1").unwrap();
        self.output.read_exact(&mut [0]).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn control(&self) -> String {
        self.folder
            .path()
            .join("control.sock")
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// A command to it, blanks between its words.
    pub(crate) fn run(&self, words: &str) -> Output {
        let control = self.control();
        let words = words.split_whitespace().chain(["--control", &control]);
        anabranch(&words.collect::<Vec<_>>())
    }

    pub(crate) fn printed(&self, words: &str) -> String {
        let control = self.control();
        let words = words.split_whitespace().chain(["--control", &control]);
        printed(&words.collect::<Vec<_>>())
    }

    pub(crate) fn v4(&self, link: usize) -> IpAddr {
        self.topology.v4(Side::Client, link)
    }

    /// Subflows as the server has them, by the client's address.
    pub(crate) fn subflows(&self) -> Vec<Subflow> {
        let all = || sockets::subflows().unwrap();
        let mut all = self.topology.server.run(all);
        all.sort_by_key(|it| it.remote);
        all
    }

    /// Waits until the server has subflows from these links, and no others.
    pub(crate) fn await_links(&self, links: &[usize]) {
        let wanted: Vec<IpAddr> = links.iter().map(|link| self.v4(*link)).collect();
        eventually(&format!("subflows from links {links:?}"), || {
            let all = self.subflows();
            let from: Vec<IpAddr> = all.iter().map(|it| it.remote.ip()).collect();
            (from == wanted).then_some(())
        });
    }

    /// What the server's kernel has counted.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        self.topology.server.run(Counters::read).unwrap().get(name)
    }

    /// Ends the connection in order, and with it the program.
    pub(crate) fn finish(mut self) {
        self.carry();
        drop(self.input.take());
        self.server.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It has ended already, most often.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
