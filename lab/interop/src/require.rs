//! What a test needs from the machine.

use std::path::Path;

/// Whether the machine can run the lab. If it cannot, says why and returns false, so that an
/// ordinary user's test run is not spoilt; panics when `CI=true`, so that no check is lost
/// unnoticed.
#[must_use]
pub fn lab() -> bool {
    let Some(reason) = missing() else { return true };
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "under CI nothing is skipped: {reason}"
    );
    eprintln!("skipped: {reason}");
    false
}

/// What the machine lacks, if anything.
fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("network namespaces need root".into());
    }
    if !Path::new("/proc/sys/net/mptcp/enabled").exists() {
        return Some("this kernel has no MPTCP".into());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("there is no /dev/net/tun".into());
    }
    let tools = [("ip", "iproute2"), ("nft", "nftables")];
    let lacks = |program: &str| crate::tool::output(program, "-V").is_err();
    tools
        .iter()
        .find(|(program, _)| lacks(program))
        .map(|(program, package)| format!("there is no `{program}` (Debian package {package})"))
}
