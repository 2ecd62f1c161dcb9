//! Policy routing: which table is asked for which packet.

use crate::route::Protocol;
use crate::{Error, Netlink, Result};
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, Nla};
use netlink_packet_route::IpProtocol;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{
    RuleAction, RuleAttribute, RuleFlags, RuleMessage, RulePortRange,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// What becomes of a packet that a rule matches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Action {
    /// Ask this table; the next rule if it has no route.
    Lookup(u32),
    /// As [`Action::Lookup`], but its default routes (prefix length 0) do not count.
    LookupSpecific(u32),
    /// Drop it.
    Blackhole,
    /// Some action this crate does not set.
    Other(u8),
}

/// A rule; every condition given must hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// IPv4, otherwise IPv6.
    pub ipv4: bool,
    /// Rules are tried from the least.
    pub preference: u32,
    /// What to do.
    pub action: Action,
    /// Network the packet goes to.
    pub to: Option<(IpAddr, u8)>,
    /// Network the packet comes from.
    pub from: Option<(IpAddr, u8)>,
    /// Interface the packet came in by.
    pub input: Option<String>,
    /// TCP to these ports.
    pub tcp_ports: Option<RangeInclusive<u16>>,
    /// Who made it.
    pub protocol: Protocol,
    /// It has conditions this crate does not set.
    pub other_conditions: bool,
}

impl Rule {
    /// A rule for every packet of a family.
    pub fn new(ipv4: bool, preference: u32, action: Action) -> Rule {
        Rule {
            ipv4,
            preference,
            action,
            to: None,
            from: None,
            input: None,
            tcp_ports: None,
            protocol: Protocol::STATIC,
            other_conditions: false,
        }
    }

    /// Whether every packet of its family matches.
    pub fn is_unconditional(&self) -> bool {
        let Rule {
            to,
            from,
            input,
            tcp_ports,
            other_conditions,
            ..
        } = self;
        to.is_none()
            && from.is_none()
            && input.is_none()
            && tcp_ports.is_none()
            && !other_conditions
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.ipv4 { "IPv4" } else { "IPv6" };
        write!(f, "{family} rule {} to {:?}", self.preference, self.action)
    }
}

impl Netlink {
    /// Adds a rule.
    ///
    /// # Errors
    /// [`Error::System`] with `EEXIST` if there is the same already.
    pub fn add_rule(&self, rule: &Rule) -> Result<()> {
        self.change(Message::NewRule(encode(rule)), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|error| Error::net(format!("add {rule}"), error))
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// [`Error::System`] with `ENOENT` if there is none such.
    pub fn delete_rule(&self, rule: &Rule) -> Result<()> {
        self.change(Message::DelRule(encode(rule)), 0)
            .map_err(|error| Error::net(format!("remove {rule}"), error))
    }

    /// Every rule of both families, in order.
    ///
    /// # Errors
    /// Any of the kernel's.
    pub fn rules(&self) -> Result<Vec<Rule>> {
        let mut rules = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RuleMessage::default();
            message.header.family = family;
            let answers = match self.dump(Message::GetRule(message)) {
                // A kernel without IPv6.
                Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => continue,
                other => other.map_err(|error| Error::net("list the rules", error))?,
            };
            rules.extend(answers.iter().filter_map(|answer| match answer {
                Message::NewRule(message) => Some(decode(message)),
                _ => None,
            }));
        }
        Ok(rules)
    }
}

fn encode(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = if rule.ipv4 {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Priority(rule.preference));
    attributes.push(RuleAttribute::Protocol(RouteProtocol::from(
        rule.protocol.0,
    )));
    message.header.action = match rule.action {
        Action::Lookup(_) | Action::LookupSpecific(_) => RuleAction::ToTable,
        Action::Blackhole => RuleAction::Blackhole,
        Action::Other(action) => RuleAction::from(action),
    };
    if let Action::Lookup(table) | Action::LookupSpecific(table) = rule.action {
        attributes.push(RuleAttribute::Table(table));
    }
    if let Action::LookupSpecific(_) = rule.action {
        attributes.push(RuleAttribute::SuppressPrefixLen(0));
    }
    if let Some((network, prefix)) = rule.to {
        message.header.dst_len = prefix;
        attributes.push(RuleAttribute::Destination(network));
    }
    if let Some((network, prefix)) = rule.from {
        message.header.src_len = prefix;
        attributes.push(RuleAttribute::Source(network));
    }
    if let Some(input) = &rule.input {
        attributes.push(RuleAttribute::Iifname(input.clone()));
    }
    if let Some(ports) = &rule.tcp_ports {
        attributes.push(RuleAttribute::IpProtocol(IpProtocol::Tcp));
        let range = RulePortRange {
            start: *ports.start(),
            end: *ports.end(),
        };
        attributes.push(RuleAttribute::DestinationPortRange(range));
    }
    message
}

fn decode(message: &RuleMessage) -> Rule {
    let header = &message.header;
    let action = match header.action {
        RuleAction::ToTable => Action::Lookup(u32::from(header.table)),
        RuleAction::Blackhole => Action::Blackhole,
        other => Action::Other(other.into()),
    };
    let mut rule = Rule::new(header.family == AddressFamily::Inet, 0, action);
    let mut suppress = None;
    rule.other_conditions = header.tos != 0 || header.flags.contains(RuleFlags::Invert);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(preference) => rule.preference = *preference,
            RuleAttribute::Protocol(protocol) => rule.protocol = Protocol((*protocol).into()),
            RuleAttribute::Table(table) if matches!(rule.action, Action::Lookup(_)) => {
                rule.action = Action::Lookup(*table);
            }
            RuleAttribute::Destination(to) => rule.to = Some((*to, header.dst_len)),
            RuleAttribute::Source(from) => rule.from = Some((*from, header.src_len)),
            RuleAttribute::Iifname(input) => rule.input = Some(input.clone()),
            RuleAttribute::IpProtocol(IpProtocol::Tcp) => {}
            RuleAttribute::DestinationPortRange(range) => {
                rule.tcp_ports = Some(range.start..=range.end);
            }
            // The kernel tells "no suppression" as -1.
            RuleAttribute::SuppressPrefixLen(length) => suppress = Some(*length),
            RuleAttribute::Table(_) => {}
            RuleAttribute::SuppressIfGroup(u32::MAX) => {}
            RuleAttribute::Other(other) if is_whole_port_mask(other) => {}
            _ => rule.other_conditions = true,
        }
    }
    match (rule.action, suppress) {
        (Action::Lookup(table), Some(0)) => rule.action = Action::LookupSpecific(table),
        (_, None | Some(u32::MAX)) => {}
        _ => rule.other_conditions = true,
    }
    rule
}

/// The kernel says of a single port that all of its bits count (FRA_SPORT_MASK, FRA_DPORT_MASK).
fn is_whole_port_mask(attribute: &DefaultNla) -> bool {
    let mut value = [0; 2];
    if !matches!(attribute.kind(), 28 | 29) || attribute.value_len() != value.len() {
        return false;
    }
    attribute.emit_value(&mut value);
    value == [0xff; 2]
}
