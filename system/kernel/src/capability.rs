//! Whether the process may do what it is about to do.

use crate::{Error, Result};

/// Bit of `CAP_NET_ADMIN` (`linux/capability.h`).
const NET_ADMIN: u32 = 12;

/// Makes sure, before anything is touched, that the network may be configured.
///
/// # Errors
/// [`Error::Permission`] with `what` if not.
pub fn require_net_admin(what: &str) -> Result<()> {
    // Unreadable without /proc; then the kernel's own refusal has to do.
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    match effective(&status) {
        Some(set) if set >> NET_ADMIN & 1 == 0 => Err(Error::Permission {
            what: what.into(),
            capability: "CAP_NET_ADMIN",
        }),
        _ => Ok(()),
    }
}

/// The effective set of a status file.
fn effective(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_is_read_from_status() {
        let status = "Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000001000\n";
        assert_eq!(effective(status), Some(1 << NET_ADMIN));
        assert_eq!(effective("Name:\tx\n"), None);
    }
}
