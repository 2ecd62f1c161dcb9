//! `--rule`: what some connections get.

use std::net::IpAddr;

use anabranch_stack::Rule;

/// Reads `peer=10.0.0.0/8 scheduler=redundant`. The settings of a scheduler may have blanks, so
/// what follows `scheduler=` belongs to it as far as no other name of a rule comes.
///
/// # Errors
/// What is wrong, and what would be right.
pub(super) fn parse(text: &str) -> Result<Rule, String> {
    let mut rule = Rule::default();
    for (name, value) in fields(text)? {
        let wrong = |what: &str| format!("{name}={value}: expected {what}");
        match name {
            "peer" => {
                rule.which.peer = Some(prefix(&value).ok_or_else(|| wrong("ADDR or ADDR/BITS"))?)
            }
            "local" => rule.which.local = Some(value.parse().map_err(|_| wrong("an address"))?),
            "port" => rule.which.port = Some(value.parse().map_err(|_| wrong("a port"))?),
            "peer-port" => rule.which.peer_port = Some(value.parse().map_err(|_| wrong("a port"))?),
            "dscp" => {
                let dscp = value.parse().ok().filter(|dscp| *dscp < 64);
                rule.which.dscp = Some(dscp.ok_or_else(|| wrong("0 to 63"))?);
            }
            "scheduler" => {
                rule.scheduler = Some(value.parse().map_err(|error| format!("{error}"))?);
            }
            "steer" => {
                rule.steering = Some(value.parse().map_err(|error| format!("{error}"))?);
            }
            _ => rule.congestion = Some(value.parse().map_err(|error| format!("{error}"))?),
        }
    }
    match (&rule.scheduler, rule.congestion, rule.steering) {
        (None, None, None) => Err("a rule needs scheduler=, congestion= or steer=".to_owned()),
        _ => Ok(rule),
    }
}

const NAMES: [&str; 8] = [
    "peer",
    "local",
    "port",
    "peer-port",
    "dscp",
    "scheduler",
    "congestion",
    "steer",
];

fn fields(text: &str) -> Result<Vec<(&str, String)>, String> {
    let mut fields: Vec<(&str, String)> = Vec::new();
    for word in text.split_whitespace() {
        match word.split_once('=') {
            Some((name, value)) if NAMES.contains(&name) => fields.push((name, value.to_owned())),
            _ => match fields.last_mut().filter(|(name, _)| *name == "scheduler") {
                Some((_, settings)) => {
                    settings.push(' ');
                    settings.push_str(word);
                }
                None => return Err(format!("{word:?}: expected one of {}=", NAMES.join("=, "))),
            },
        }
    }
    Ok(fields)
}

fn prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (addr, bits) = match text.split_once('/') {
        Some((addr, bits)) => (addr, Some(bits)),
        None => (text, None),
    };
    let addr: IpAddr = addr.parse().ok()?;
    let most = if addr.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
    (bits <= most).then_some((addr, bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anabranch_stack::Steering;

    #[test]
    fn a_rule_names_connections_and_what_they_get() {
        let rule =
            parse("peer=10.0.0.0/8 port=443 dscp=46 scheduler=redundant congestion=olia steer=off");
        let rule = rule.expect("a rule");
        assert_eq!(rule.which.peer, Some(("10.0.0.0".parse().unwrap(), 8)));
        assert_eq!((rule.which.port, rule.which.dscp), (Some(443), Some(46)));
        assert_eq!(rule.scheduler.unwrap().build().name(), "redundant");
        assert_eq!(rule.congestion.unwrap().name(), "olia");
        assert_eq!(rule.steering, Some(Steering::OFF));
    }

    #[test]
    fn settings_of_a_scheduler_may_have_blanks() {
        let rule = parse("peer=2001:db8::/32 scheduler=weighted:192.0.2.1 weight=3; * weight=1");
        assert_eq!(
            rule.expect("a rule").scheduler.unwrap().build().name(),
            "weighted"
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("peer=10.0.0.0/8", "needs scheduler="),
            ("peer=10.0.0.0/33 scheduler=ecf", "ADDR/BITS"),
            ("scheduler=fastest", "no scheduler named"),
            ("dscp=64 scheduler=ecf", "0 to 63"),
            ("user=7 scheduler=ecf", "expected one of"),
        ] {
            let error = parse(text).map(|_| ()).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
