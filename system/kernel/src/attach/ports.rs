//! Sets of TCP ports, and the kernel's list of those it must not choose by itself.

use crate::{Error, Result, sysctl};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Ports the kernel gives to no socket that did not ask for one: the answers to such a connection
/// would be taken for ours.
const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";

/// Refuses what is no set of ports.
pub(super) fn check(ports: &[RangeInclusive<u16>]) -> Result<()> {
    let invalid = |message: String| Err(Error::Invalid(message));
    if ports.is_empty() {
        return invalid("no ports to take".into());
    }
    if let Some(range) = ports
        .iter()
        .find(|range| range.is_empty() || *range.start() == 0)
    {
        return invalid(format!(
            "{}-{} is no range of ports",
            range.start(),
            range.end()
        ));
    }
    let mut sorted: Vec<_> = ports.iter().collect();
    sorted.sort_by_key(|range| *range.start());
    match sorted
        .windows(2)
        .find(|pair| pair[1].start() <= pair[0].end())
    {
        Some(pair) => invalid(format!("port {} is named twice", pair[1].start())),
        None => Ok(()),
    }
}

/// Whether two sets have a port in common, and which.
pub(super) fn common(a: &[RangeInclusive<u16>], b: &[RangeInclusive<u16>]) -> Option<u16> {
    let pairs = a.iter().flat_map(|a| b.iter().map(move |b| (a, b)));
    pairs
        .map(|(a, b)| ((*a.start()).max(*b.start()), (*a.end()).min(*b.end())))
        .find_map(|(start, end)| (start <= end).then_some(start))
}

/// Reserves those of `ports` that are not reserved yet; returns them.
pub(super) fn reserve(ports: &[RangeInclusive<u16>]) -> Result<BTreeSet<u16>> {
    let mut reserved = parse(&sysctl::read(RESERVED)?);
    let wanted = ports.iter().cloned().flatten();
    let added: BTreeSet<u16> = wanted.filter(|port| reserved.insert(*port)).collect();
    if !added.is_empty() {
        sysctl::write(RESERVED, &format(&reserved))?;
    }
    Ok(added)
}

/// Takes back what [`reserve`] has added.
pub(super) fn release(added: &BTreeSet<u16>) -> Result<()> {
    let mut reserved = parse(&sysctl::read(RESERVED)?);
    let before = reserved.len();
    reserved.retain(|port| !added.contains(port));
    if reserved.len() < before {
        sysctl::write(RESERVED, &format(&reserved))?;
    }
    Ok(())
}

/// A list such as `80,443,9000-9010`.
fn parse(list: &str) -> BTreeSet<u16> {
    let bounds = |item: &str| {
        let (start, end) = item.split_once('-').unwrap_or((item, item));
        Some(start.trim().parse::<u16>().ok()?..=end.trim().parse::<u16>().ok()?)
    };
    list.split(',').filter_map(bounds).flatten().collect()
}

/// As ranges: the kernel takes no more than a page. The end of line makes it take an empty list
/// for one.
fn format(ports: &BTreeSet<u16>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for &port in ports {
        match ranges.last_mut() {
            Some((_, end)) if *end == port - 1 => *end = port,
            _ => ranges.push((port, port)),
        }
    }
    let text = |&(start, end): &(u16, u16)| match end - start {
        0 => start.to_string(),
        _ => format!("{start}-{end}"),
    };
    let list: Vec<String> = ranges.iter().map(text).collect();
    list.join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_with_ranges() {
        assert_eq!(
            parse("80,9000-9002\n"),
            BTreeSet::from([80, 9000, 9001, 9002])
        );
        assert_eq!(parse("\n"), BTreeSet::new());
        assert_eq!(format(&BTreeSet::from([80, 443])), "80,443\n");
        assert_eq!(format(&(61_000..=65_535).collect()), "61000-65535\n");
        assert_eq!(format(&BTreeSet::from([80, 81, 90])), "80-81,90\n");
        assert_eq!(format(&BTreeSet::new()), "\n");
    }

    #[test]
    fn a_set_of_ports_has_each_once_and_none_is_zero() {
        check(&[443..=443, 80..=80, 9000..=9010]).unwrap();
        for (ports, message) in [
            (vec![], "no ports to take"),
            (vec![0..=5], "0-5 is no range of ports"),
            (vec![RangeInclusive::new(9, 8)], "9-8 is no range of ports"),
            (vec![80..=90, 85..=85], "port 85 is named twice"),
        ] {
            assert_eq!(check(&ports).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn sets_meet_in_a_port_they_both_have() {
        assert_eq!(common(&[80..=80, 9000..=9010], &[9005..=9020]), Some(9005));
        assert_eq!(common(&[80..=80], &[81..=90]), None);
    }
}
