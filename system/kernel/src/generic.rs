//! Generic netlink: messages of families whose numbers the kernel gives out as it starts.

use crate::netlink::Channel;
use crate::{Error, Result};
use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLA_F_NESTED, NLA_TYPE_MASK, NetlinkDeserializable,
    NetlinkHeader, NetlinkSerializable, Nla, NlasIterator, Parseable,
};

// The controller of generic netlink, `linux/genetlink.h`.
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_GETFAMILY: u8 = 3;
const CTRL_FAMILY_ID: u16 = 1;
const CTRL_FAMILY_NAME: u16 = 2;
const CTRL_MCAST_GROUPS: u16 = 7;
const CTRL_MCAST_NAME: u16 = 1;
const CTRL_MCAST_ID: u16 = 2;

/// Numbers of a family and of its multicast group; `feature` is what brings it.
pub(crate) fn group(
    channel: &Channel,
    name: &str,
    group: &str,
    feature: &'static str,
) -> Result<(u16, u32)> {
    let answers = find(channel, name, feature)?;
    let attributes = || answers.iter().flat_map(|answer| &answer.attributes);
    let family = attributes().find_map(family_id);
    let groups = attributes().filter(|it| it.kind() & NLA_TYPE_MASK == CTRL_MCAST_GROUPS);
    let group = groups
        .flat_map(|groups| parse_attributes(&value(groups)).unwrap_or_default())
        .find_map(|one| group_id(&one, group));
    family.zip(group).ok_or_else(|| Error::Unsupported {
        what: format!("find the netlink family {name}"),
        feature,
    })
}

/// The number of a group, if it has this name.
fn group_id(attribute: &DefaultNla, name: &str) -> Option<u32> {
    let fields = parse_attributes(&value(attribute)).ok()?;
    let field = |kind| fields.iter().find(|it| it.kind() == kind).map(value);
    let found = field(CTRL_MCAST_NAME)?;
    (found.strip_suffix(&[0]) == Some(name.as_bytes()))
        .then(|| read_u32(&field(CTRL_MCAST_ID)?))
        .flatten()
}

fn family_id(attribute: &DefaultNla) -> Option<u16> {
    let bytes = value(attribute).try_into().ok();
    let bytes = bytes.filter(|_| attribute.kind() == CTRL_FAMILY_ID)?;
    Some(u16::from_ne_bytes(bytes))
}

/// The number a family of generic netlink has on this kernel; `feature` is what brings it.
pub(crate) fn resolve(channel: &Channel, name: &str, feature: &'static str) -> Result<u16> {
    let answers = find(channel, name, feature)?;
    let mut attributes = answers.iter().flat_map(|answer| &answer.attributes);
    attributes
        .find_map(family_id)
        .ok_or_else(|| Error::Unsupported {
            what: format!("find the netlink family {name}"),
            feature,
        })
}

/// What the kernel knows of a family.
fn find(channel: &Channel, name: &str, feature: &'static str) -> Result<Vec<Generic>> {
    let what = format!("find the netlink family {name}");
    let mut terminated = name.as_bytes().to_vec();
    terminated.push(0);
    let request = Generic {
        family: GENL_ID_CTRL,
        command: CTRL_GETFAMILY,
        version: 1,
        attributes: vec![DefaultNla::new(CTRL_FAMILY_NAME, terminated)],
    };
    channel
        .request(request, 0)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT) => Error::Unsupported { what, feature },
            _ => Error::net(&what, error),
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
