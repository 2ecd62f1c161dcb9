//! Commands for single connections, known by their tokens: for a path manager in userspace. The
//! kernel refuses them for connections made while `net.mptcp.path_manager` was `kernel`.

use super::message::{ATTR_ADDR, ATTR_ADDR_REMOTE, ATTR_LOC_ID, ATTR_TOKEN, Command};
use super::{Endpoint, Flags, PathManager, message};
use crate::generic::{nested, u32_attribute};
use crate::{Error, Result};
use netlink_packet_core::{DefaultNla, NLM_F_DUMP};
use std::net::SocketAddr;

/// Our end of a subflow to be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalEnd {
    /// Address and port; port 0 is any free one.
    pub address: SocketAddr,
    /// Its number towards the peer, the same for every subflow from the address; not 0 unless it
    /// is where the connection began.
    pub id: u8,
    /// Used only when no other subflow is usable.
    pub backup: bool,
    /// Number of the interface it leaves by; 0 for any.
    pub link: u32,
}

/// Commands for one connection.
impl PathManager {
    /// Announces an address to the peer of a connection, under the number of `endpoint`, which is
    /// not 0. Nobody listens on its port unless somebody makes a socket that does.
    ///
    /// # Errors
    /// [`Error::System`] with `EINVAL` if there is no such connection, or if address and number
    /// are known with others.
    pub fn announce(&self, token: u32, endpoint: &Endpoint) -> Result<()> {
        let endpoint = Endpoint {
            flags: endpoint.flags | Flags::SIGNAL,
            ..endpoint.clone()
        };
        let what = format!("announce {} to the peer of {token:08x}", endpoint.address);
        let attributes = vec![u32_attribute(ATTR_TOKEN, token), endpoint.encode()];
        self.command(Command::Announce, attributes, &what)
    }

    /// Tells the peer of a connection that our address of this number is gone, and closes the
    /// subflows from it.
    ///
    /// # Errors
    /// [`Error::System`] with `EINVAL` if there is no such connection or number.
    pub fn withdraw(&self, token: u32, id: u8) -> Result<()> {
        let attributes = vec![
            u32_attribute(ATTR_TOKEN, token),
            DefaultNla::new(ATTR_LOC_ID, vec![id]),
        ];
        let what = format!("withdraw address {id} of {token:08x}");
        self.command(Command::Remove, attributes, &what)
    }

    /// Opens a subflow. It is there when an event says so.
    ///
    /// # Errors
    /// [`Error::System`] with `EINVAL` if there is no such connection, or if address and number are
    /// known with others; else what `connect` says, such as `ENETUNREACH`.
    pub fn create_subflow(&self, token: u32, local: &LocalEnd, remote: SocketAddr) -> Result<()> {
        let flags = match local.backup {
            true => Flags::SUBFLOW | Flags::BACKUP,
            false => Flags::SUBFLOW,
        };
        let from = Endpoint {
            address: local.address.ip(),
            id: local.id,
            port: local.address.port(),
            flags,
            link: local.link,
        };
        let what = format!(
            "open a subflow of {token:08x} from {} to {remote}",
            local.address
        );
        let attributes = vec![
            u32_attribute(ATTR_TOKEN, token),
            from.encode_with_id(),
            end(ATTR_ADDR_REMOTE, remote),
        ];
        self.command(Command::SubflowCreate, attributes, &what)
    }

    /// Closes a subflow.
    ///
    /// # Errors
    /// [`Error::System`] with `ESRCH` if there is no subflow between these ends, `EINVAL` if there
    /// is no such connection.
    pub fn destroy_subflow(&self, token: u32, local: SocketAddr, remote: SocketAddr) -> Result<()> {
        let what = format!("close the subflow of {token:08x} from {local} to {remote}");
        let attributes = vec![
            u32_attribute(ATTR_TOKEN, token),
            end(ATTR_ADDR, local),
            end(ATTR_ADDR_REMOTE, remote),
        ];
        self.command(Command::SubflowDestroy, attributes, &what)
    }

    /// Makes a subflow a backup, or none, and tells the peer (MP_PRIO).
    ///
    /// # Errors
    /// [`Error::System`] with `EINVAL` if there is no such connection or subflow.
    pub fn set_backup(
        &self,
        token: u32,
        local: SocketAddr,
        remote: SocketAddr,
        backup: bool,
    ) -> Result<()> {
        let flags = if backup {
            Flags::BACKUP
        } else {
            Flags::default()
        };
        let from = Endpoint {
            port: local.port(),
            ..Endpoint::new(local.ip(), flags)
        };
        let what = format!("change the subflow of {token:08x} from {local} to {remote}");
        let attributes = vec![
            u32_attribute(ATTR_TOKEN, token),
            from.encode(),
            end(ATTR_ADDR_REMOTE, remote),
        ];
        self.command(Command::SetFlags, attributes, &what)
    }

    /// The addresses of ours that a connection knows, with their numbers: those announced, and
    /// those subflows were opened from.
    ///
    /// # Errors
    /// [`Error::System`] with `EINVAL` if there is no such connection.
    pub fn addresses(&self, token: u32) -> Result<Vec<Endpoint>> {
        let attributes = vec![u32_attribute(ATTR_TOKEN, token)];
        let answers = self
            .channel
            .request(self.message(Command::GetAddr, attributes), NLM_F_DUMP)
            .map_err(|error| Error::net(format!("list the addresses of {token:08x}"), error))?;
        Ok(answers.iter().filter_map(Endpoint::decode).collect())
    }
}

/// One end of a subflow.
fn end(kind: u16, end: SocketAddr) -> DefaultNla {
    let mut attributes = message::address(end.ip());
    attributes.push(message::port(end.port()));
    nested(kind, &attributes)
}
