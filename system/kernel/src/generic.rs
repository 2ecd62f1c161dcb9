//! Generic netlink: messages of families whose numbers the kernel gives out as it starts.

use crate::netlink::Channel;
use crate::{Error, Result};
use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLA_F_NESTED, NetlinkDeserializable, NetlinkHeader,
    NetlinkSerializable, Nla, NlasIterator, Parseable,
};

// The controller of generic netlink, `linux/genetlink.h`.
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_GETFAMILY: u8 = 3;
const CTRL_FAMILY_ID: u16 = 1;
const CTRL_FAMILY_NAME: u16 = 2;

/// The number a family of generic netlink has on this kernel; `feature` is what brings it.
pub(crate) fn resolve(channel: &Channel, name: &str, feature: &'static str) -> Result<u16> {
    let what = format!("find the netlink family {name}");
    let mut terminated = name.as_bytes().to_vec();
    terminated.push(0);
    let request = Generic {
        family: GENL_ID_CTRL,
        command: CTRL_GETFAMILY,
        version: 1,
        attributes: vec![DefaultNla::new(CTRL_FAMILY_NAME, terminated)],
    };
    let answers = channel
        .request(request, 0)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT) => Error::Unsupported {
                what: what.clone(),
                feature,
            },
            _ => Error::net(&what, error),
        })?;
    answers
        .iter()
        .flat_map(|answer| &answer.attributes)
        .find(|attribute| attribute.kind() == CTRL_FAMILY_ID)
        .and_then(|attribute| Some(u16::from_ne_bytes(value(attribute).try_into().ok()?)))
        .ok_or_else(|| Error::Unsupported {
            what: what.clone(),
            feature,
        })
}

pub(crate) fn nested(kind: u16, attributes: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}

pub(crate) fn u32_attribute(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_ne_bytes().to_vec())
}

pub(crate) fn read_u32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

pub(crate) fn value(attribute: &DefaultNla) -> Vec<u8> {
    let mut bytes = vec![0; attribute.value_len()];
    attribute.emit_value(&mut bytes);
    bytes
}

pub(crate) fn parse_attributes(bytes: &[u8]) -> std::result::Result<Vec<DefaultNla>, DecodeError> {
    NlasIterator::new(bytes)
        .map(|attribute| DefaultNla::parse(&attribute?))
        .collect()
}

/// A message of generic netlink.
#[derive(Clone, Debug)]
pub(crate) struct Generic {
    pub(crate) family: u16,
    pub(crate) command: u8,
    pub(crate) version: u8,
    pub(crate) attributes: Vec<DefaultNla>,
}

/// Command, version and two reserved bytes.
const GENERIC_HEADER: usize = 4;

impl NetlinkSerializable for Generic {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        GENERIC_HEADER + self.attributes.as_slice().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..GENERIC_HEADER].copy_from_slice(&[self.command, self.version, 0, 0]);
        self.attributes
            .as_slice()
            .emit(&mut buffer[GENERIC_HEADER..]);
    }
}

impl NetlinkDeserializable for Generic {
    type Error = DecodeError;

    fn deserialize(
        header: &NetlinkHeader,
        payload: &[u8],
    ) -> std::result::Result<Self, DecodeError> {
        let Some((&[command, version, _, _], rest)) = payload.split_first_chunk() else {
            return Err("generic netlink message without a header".into());
        };
        let attributes = parse_attributes(rest)?;
        Ok(Generic {
            family: header.message_type,
            command,
            version,
            attributes,
        })
    }
}
