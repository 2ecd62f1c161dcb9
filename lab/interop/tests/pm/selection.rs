//! Connections with a policy of their own, and the ports of announced addresses.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anabranch_interop::require;
use anabranch_interop::server::Anabranch;
use anabranch_interop::socket;
use anabranch_interop::topology::Side;
use anabranch_kernel::mptcp::sockets;

use crate::world::{Folder, PATIENCE, PORT, World, eventually};

const OTHER_PORT: u16 = 7711;

/// A connection of another process, in a control group of its own if one is given.
struct Other {
    process: Child,
    _server: TcpStream,
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Other {
    fn connect(world: &World, cgroup: Option<&str>) -> Other {
        let to = SocketAddr::new(world.topology.v4(Side::Server, 0), PORT);
        let mut command = match cgroup {
            Some(folder) => {
                let join = format!("echo $$ > {folder}/cgroup.procs && exec \"$@\"");
                let mut shell = Command::new("sh");
                shell.args(["-c", &join, "sh", env!("CARGO_BIN_EXE_peer")]);
                shell
            }
            None => Command::new(env!("CARGO_BIN_EXE_peer")),
        };
        // Nobody reads what it sends, so it never comes to the end of it.
        command
            .args([&to.to_string(), "1", "100000000", "1000", "0"])
            .stdin(Stdio::null());
        let process = world.on_client(|| command.spawn().unwrap());
        let accepted = socket::accept_within(&world.listener, PATIENCE).unwrap();
        let (server, _) = accepted.expect("a connection");
        Other {
            process,
            _server: server,
        }
    }
}

/// Subflows of the client for each connection, those with the most first.
fn subflows_of_each(world: &World) -> Vec<usize> {
    let all = world.on_client(|| sockets::subflows().unwrap());
    let mut tokens: Vec<u32> = all.iter().map(|it| it.token).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let count = |token: &u32| all.iter().filter(|it| it.token == *token).count();
    let mut counts: Vec<usize> = tokens.iter().map(count).collect();
    counts.sort_unstable();
    counts.reverse();
    counts
}

const ONLY_SOME: &str =
    "[policy]\nkind = \"endpoints\"\n[[connection]]\npolicy.kind = \"one-each\"\n";

#[test]
fn a_process_has_a_policy_of_its_own() {
    if !require::lab() {
        return;
    }
    let world = World::new(2);
    let plan = world.plan("paths.toml", &format!("{ONLY_SOME}process = \"pe?r\"\n"));
    let _pm = world.manage(&["--config", &plan]);
    let _ours = world.connect();
    let _its = Other::connect(&world, None);
    eventually("a second subflow of the one", || {
        (subflows_of_each(&world) == [2, 1]).then_some(())
    });
    let second = world.on_client(|| sockets::subflows().unwrap());
    let joined = second.iter().find(|it| it.joined).unwrap();
    assert_eq!(joined.local.ip(), world.v4(1));
}

#[test]
fn a_control_group_has_a_policy_of_its_own() {
    if !require::lab() {
        return;
    }
    let Some(group) = Group::new() else {
        return;
    };
    let world = World::new(2);
    let condition = format!("cgroup = \"/{}\"\n", group.name);
    let plan = world.plan("paths.toml", &format!("{ONLY_SOME}{condition}"));
    let _pm = world.manage(&["--config", &plan]);
    let other = Other::connect(&world, None);
    let member = Other::connect(&world, Some(&group.folder));
    eventually("a second subflow of the one", || {
        (subflows_of_each(&world) == [2, 1]).then_some(())
    });
    drop(other);
    eventually("the other ends", || {
        (subflows_of_each(&world) == [2]).then_some(())
    });
    drop(member);
}

/// A control group (version 2), removed with the test.
struct Group {
    name: String,
    folder: String,
}

impl Group {
    /// `None`, with the reason printed, where there is no such hierarchy.
    fn new() -> Option<Group> {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let mut unified = mounts
            .lines()
            .filter(|it| it.split(' ').nth(2) == Some("cgroup2"));
        let Some(root) = unified.next().and_then(|it| it.split(' ').nth(1)) else {
            eprintln!("skipped: no control groups of version 2 are mounted");
            return None;
        };
        let name = format!("anabranch-pm-{}", std::process::id());
        let folder = format!("{root}/{name}");
        std::fs::create_dir(&folder).unwrap();
        Some(Group { name, folder })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its last process may be going yet.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn an_announced_port_is_listened_on_as_long_as_somebody_may_join_there() {
    if !require::lab() {
        return;
    }
    let world = World::new(2);
    let second = world.topology.v4(Side::Server, 1);
    let folder = Folder::new();
    let plan = folder.path().join("paths.toml");
    let text = format!(
        "[policy]\nkind = \"endpoints\"\n\
         [[endpoint]]\naddress = \"{second}\"\nport = {OTHER_PORT}\nflags = [\"signal\"]\n"
    );
    std::fs::write(&plan, text).unwrap();
    let server = &world.topology.server;
    let _server =
        Anabranch::manage(server, folder.path(), &["--config", plan.to_str().unwrap()]).unwrap();
    let _client = world.manage(&["--policy", "one-each"]);
    let there = SocketAddr::new(second, OTHER_PORT);
    let listens = || {
        let reach = || TcpStream::connect_timeout(&there, PATIENCE).is_ok();
        world.on_client(reach)
    };
    assert!(!listens(), "nobody has been told of it yet");
    let connection = world.connect();
    eventually("a subflow to the port", || {
        let subflows = server.run(|| sockets::subflows().unwrap());
        subflows.iter().any(|it| it.local == there).then_some(())
    });
    assert!(listens());
    connection.carry();
    drop(connection);
    eventually("nobody listens any more", || (!listens()).then_some(()));
}
