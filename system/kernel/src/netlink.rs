//! A netlink socket and its one exchange: a request, then answers until the acknowledgement.

use crate::{Error, Result};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use std::cell::Cell;
use std::io::{self, ErrorKind};

/// Dumps that changed under the kernel's hand are asked for again, this often at most.
const DUMP_TRIES: usize = 8;

/// The control plane of one network namespace: links, addresses, routes, rules, queues.
///
/// It belongs to the namespace of the thread that opened it, wherever it is used later.
pub struct Netlink {
    channel: Channel,
}

impl Netlink {
    /// Opens the namespace of the current thread.
    ///
    /// # Errors
    /// [`Error::System`] if no netlink socket is to be had.
    pub fn open() -> Result<Netlink> {
        Ok(Netlink {
            channel: Channel::open(NETLINK_ROUTE)?,
        })
    }

    /// Asks the kernel to change something.
    pub(crate) fn change(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.channel.request(message, flags).map(drop)
    }

    /// All there is of a kind.
    pub(crate) fn dump(
        &self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.channel.request(message, NLM_F_DUMP)
    }
}

/// A socket of any netlink protocol.
pub(crate) struct Channel {
    socket: Socket,
    sequence: Cell<u32>,
}

impl Channel {
    pub(crate) fn open(protocol: isize) -> Result<Channel> {
        let connect = || {
            let mut socket = Socket::new(protocol)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        let socket = connect().map_err(|error| Error::net("open a netlink socket", error))?;
        Ok(Channel {
            socket,
            sequence: Cell::new(0),
        })
    }

    /// Sends `message` and collects what the kernel answers before its acknowledgement.
    pub(crate) fn request<T>(&self, message: T, flags: u16) -> io::Result<Vec<T>>
    where
        T: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        for _ in 0..DUMP_TRIES {
            if let Some(answers) = self.exchange(message.clone(), flags)? {
                return Ok(answers);
            }
        }
        Err(io::Error::new(
            ErrorKind::Interrupted,
            "the tables change faster than they are read",
        ))
    }

    /// `None` if the tables changed during the dump.
    fn exchange<T>(&self, message: T, flags: u16) -> io::Result<Option<Vec<T>>>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
    {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let mut header = NetlinkHeader::default();
        header.sequence_number = sequence;
        header.flags = NLM_F_REQUEST | flags;
        if flags & NLM_F_DUMP != NLM_F_DUMP {
            header.flags |= NLM_F_ACK;
        }
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        self.answers(sequence)
    }

    fn answers<T: NetlinkDeserializable>(&self, sequence: u32) -> io::Result<Option<Vec<T>>> {
        let mut answers = Vec::new();
        let mut whole = true;
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = &datagram[..];
            while !rest.is_empty() {
                let message = NetlinkMessage::<T>::deserialize(rest)
                    .map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))?;
                // Lengths are rounded up to 4 between messages.
                let length = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(length.max(16)..).unwrap_or_default();
                if message.header.sequence_number != sequence {
                    continue;
                }
                whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    // What fails in the middle of a dump is told at its end.
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(done.code.saturating_neg()));
                    }
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => {
                        return Ok(whole.then_some(answers));
                    }
                    _ => {}
                }
            }
        }
    }
}
