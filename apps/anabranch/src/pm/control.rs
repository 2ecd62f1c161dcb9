//! What people ask of the path manager, and what it tells them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anabranch_kernel::mptcp::{Event, SubflowEvent};

use super::state::{State, lock};
use crate::control::server::{News, Source};
use crate::control::{Answer, Connection, PathNews, Request};

/// The answering side of its control socket.
pub(super) struct Asked(Arc<Mutex<State>>);

impl Asked {
    pub(super) fn new(state: Arc<Mutex<State>>) -> Asked {
        Asked(state)
    }
}

impl Source for Asked {
    /// The kernel's connections are `ss -M`'s to show.
    fn connections(&self) -> Vec<Connection> {
        Vec::new()
    }

    /// The kernel's counters are `nstat`'s to show.
    fn counters(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }

    fn paths(&self, request: Request) -> Result<Vec<Answer>, String> {
        lock(&self.0).request(&request)
    }

    fn monitor(&self) -> Result<News, String> {
        Ok(lock(&self.0).news())
    }
}

/// An event of the kernel, in the words of `ip mptcp monitor`.
pub(super) fn told(event: &Event) -> PathNews {
    let named = |event: &str| PathNews {
        event: event.to_owned(),
        ..PathNews::default()
    };
    match event {
        Event::Created {
            token,
            local,
            remote,
            ..
        } => whole("created", *token, *local, *remote),
        Event::Established {
            token,
            local,
            remote,
            ..
        } => whole("established", *token, *local, *remote),
        Event::Closed { token } => PathNews {
            token: Some(*token),
            ..named("closed")
        },
        Event::Announced { token, id, remote } => PathNews {
            token: Some(*token),
            remote_id: Some(*id),
            remote: Some(*remote),
            ..named("announced")
        },
        Event::Removed { token, id } => PathNews {
            token: Some(*token),
            remote_id: Some(*id),
            ..named("removed")
        },
        Event::SubflowEstablished(subflow) => about("sf_established", subflow),
        Event::SubflowClosed(subflow) => about("sf_closed", subflow),
        Event::SubflowPriority(subflow) => about("sf_priority", subflow),
        Event::ListenerCreated { local } => PathNews {
            local: Some(*local),
            ..named("listener_created")
        },
        Event::ListenerClosed { local } => PathNews {
            local: Some(*local),
            ..named("listener_closed")
        },
        Event::Lost => named("lost"),
    }
}

fn whole(
    event: &str,
    token: u32,
    local: std::net::SocketAddr,
    remote: std::net::SocketAddr,
) -> PathNews {
    PathNews {
        event: event.to_owned(),
        token: Some(token),
        local: Some(local),
        remote: Some(remote),
        ..PathNews::default()
    }
}

fn about(event: &str, subflow: &SubflowEvent) -> PathNews {
    let error = |errno: u8| std::io::Error::from_raw_os_error(errno.into()).to_string();
    PathNews {
        local_id: Some(subflow.local_id),
        remote_id: Some(subflow.remote_id),
        backup: Some(subflow.backup),
        reason: subflow.error.map(error),
        ..whole(event, subflow.token, subflow.local, subflow.remote)
    }
}
