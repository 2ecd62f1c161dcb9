//! Errors that say what was tried, why it failed and, where there is one, the way out.

use std::io::{self, ErrorKind};

/// A call's outcome.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the kernel did not do what was asked; `Display` is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process lacks a capability.
    #[error(
        "cannot {what}: it needs {capability}; run as root, or once \
         `setcap {}+ep` on the program", capability.to_lowercase()
    )]
    Permission {
        /// What was tried.
        what: String,
        /// The capability, as in `capabilities(7)`.
        capability: &'static str,
    },
    /// Nothing of this name exists in the current namespace.
    #[error("there is no {kind} named {name}")]
    Missing {
        /// "interface", "sysctl", …
        kind: &'static str,
        /// The name looked for.
        name: String,
    },
    /// This kernel does not have the feature.
    #[error("cannot {what}: this kernel lacks {feature}")]
    Unsupported {
        /// What was tried.
        what: String,
        /// What it lacks.
        feature: &'static str,
    },
    /// Someone else has it.
    #[error("{what} is taken already by {by}")]
    Taken {
        /// What was asked for.
        what: String,
        /// Who has it.
        by: String,
    },
    /// An argument no kernel would accept.
    #[error("{0}")]
    Invalid(String),
    /// Any other refusal.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    /// An error of the network's control plane.
    pub(crate) fn net(what: impl Into<String>, source: io::Error) -> Error {
        Error::new(what, "CAP_NET_ADMIN", source)
    }

    /// An error of namespaces and mounts.
    pub(crate) fn sys(what: impl Into<String>, source: io::Error) -> Error {
        Error::new(what, "CAP_SYS_ADMIN", source)
    }

    fn new(what: impl Into<String>, capability: &'static str, source: io::Error) -> Error {
        let what = what.into();
        match source.kind() {
            ErrorKind::PermissionDenied => Error::Permission { what, capability },
            _ => Error::System { what, source },
        }
    }

    /// The same error, told of what the caller tried.
    pub(crate) fn context(self, tried: String) -> Error {
        match self {
            Error::Permission { capability, .. } => Error::Permission {
                what: tried,
                capability,
            },
            Error::System { source, .. } => Error::System {
                what: tried,
                source,
            },
            other => other,
        }
    }

    /// The system's error number, where it gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::System { source, .. } => source.raw_os_error(),
            Error::Permission { .. } => Some(libc::EPERM),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_capability_is_one_line_with_the_way_out() {
        let error = Error::net("add a rule", io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(
            error.to_string(),
            "cannot add a rule: it needs CAP_NET_ADMIN; run as root, or once \
             `setcap cap_net_admin+ep` on the program"
        );
        assert_eq!(error.errno(), Some(libc::EPERM));
    }
}
