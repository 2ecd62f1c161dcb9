//! What cannot be, or ceases to be: one line, and nothing changed.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use anabranch_interop::require;
use anabranch_interop::server::{Anabranch, program};
use anabranch_kernel::sysctl;

use crate::world::{MANAGER, PATIENCE, World};

#[test]
fn what_cannot_be_is_said_in_one_line() {
    if !require::lab() {
        return;
    }
    let world = World::new(1);
    let refused = |arguments: &[&str]| {
        let started = Anabranch::manage(&world.topology.client, world.folder.path(), arguments);
        let error = started.map(drop).unwrap_err().to_string();
        let lines = error.lines().filter(|line| line.starts_with("error: "));
        assert_eq!(lines.count(), 1, "{error}");
        error
    };
    {
        let _first = world.manage(&[]);
        let second = refused(&[]);
        assert!(second.contains("another `anabranch pm`"), "{second}");
    }
    let missing = refused(&["--netns", "no-such-namespace"]);
    assert!(missing.contains("no-such-namespace"), "{missing}");
    world.on_client(|| sysctl::write("net/mptcp/enabled", "0").unwrap());
    let off = refused(&[]);
    assert!(off.contains("sysctl net.mptcp.enabled=1"), "{off}");
    let manager = world.on_client(|| sysctl::read(MANAGER).unwrap());
    assert_eq!(manager, "kernel");
}

#[test]
fn a_namespace_deleted_under_it_ends_it() {
    if !require::lab() {
        return;
    }
    let name = format!("anabranch-pm-{}", std::process::id());
    let named = anabranch_kernel::Netns::named(&name).unwrap();
    let world = World::new(1);
    let mut pm = world.manage(&["--netns", &name]);
    drop(named);
    let status = pm.wait(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(pm.log().contains("was deleted"), "{}", pm.log());
}

/// Runs it on the client to its end; one line, and that nothing has changed.
fn refused(world: &World, mut command: Command) -> String {
    let Output { status, stderr, .. } = world.on_client(|| command.output().unwrap());
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(world.endpoints(), []);
    let manager = world.on_client(|| sysctl::read(MANAGER).unwrap());
    assert_eq!(manager, "kernel");
    said
}

#[test]
fn without_permission_it_says_what_to_do() {
    if !require::lab() {
        return;
    }
    /// Nobody, as everywhere.
    const NOBODY: u32 = 65_534;
    let world = World::new(1);
    for mode in ["userspace", "kernel"] {
        // A copy where everybody may run it.
        let copy = std::env::temp_dir().join(format!("anabranch-{}-{mode}", std::process::id()));
        std::fs::copy(program().unwrap(), &copy).unwrap();
        let mut command = Command::new(&copy);
        command.args(["pm", "--mode", mode]).uid(NOBODY).gid(NOBODY);
        let said = refused(&world, command);
        assert!(said.contains("CAP_NET_ADMIN"), "{said}");
        std::fs::remove_file(copy).unwrap();
    }
}

#[test]
fn a_kernel_without_multipath_tcp_is_named() {
    if !require::lab() {
        return;
    }
    let world = World::new(1);
    let hidden = "mount -t tmpfs none /proc/sys/net/mptcp && exec \"$0\" pm";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", hidden])
        .arg(program().unwrap());
    let said = refused(&world, command);
    assert!(said.contains("CONFIG_MPTCP"), "{said}");
}
