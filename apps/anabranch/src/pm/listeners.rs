//! Sockets that listen on announced ports: for a path manager in userspace the kernel makes none,
//! and without one refuses joins there.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;

use anabranch_paths::Token;
use socket2::{Domain, Protocol, Socket, Type};

/// One socket for each address and port, as long as a connection has it announced.
#[derive(Default)]
pub(super) struct Listeners {
    sockets: BTreeMap<SocketAddr, Socket>,
    /// Who has announced what, by number.
    users: BTreeMap<(Token, u8), SocketAddr>,
}

impl Listeners {
    /// A connection announces an address with a port.
    pub(super) fn listen(&mut self, token: Token, id: u8, at: SocketAddr) {
        self.close(token, id);
        if let Entry::Vacant(place) = self.sockets.entry(at) {
            match open(at) {
                Ok(socket) => drop(place.insert(socket)),
                // A server of the host's own may listen there: joins find it as well.
                Err(error) => tracing::debug!("cannot listen on {at} for joins: {error}"),
            }
        }
        self.users.insert((token, id), at);
    }

    /// It withdraws an address.
    pub(super) fn close(&mut self, token: Token, id: u8) {
        if let Some(at) = self.users.remove(&(token, id)) {
            self.leave(at);
        }
    }

    /// It is no more.
    pub(super) fn forget(&mut self, token: Token) {
        let mine = (token, 0)..=(token, u8::MAX);
        let ids: Vec<u8> = self.users.range(mine).map(|((_, id), _)| *id).collect();
        ids.into_iter().for_each(|id| self.close(token, id));
    }

    fn leave(&mut self, at: SocketAddr) {
        if !self.users.values().any(|used| *used == at) {
            self.sockets.remove(&at);
        }
    }
}

/// Nobody accepts there: joins are taken by the kernel, and other connections are of no use.
fn open(at: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::MPTCP))?;
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&at.into())?;
    socket.listen(0)?;
    Ok(socket)
}
