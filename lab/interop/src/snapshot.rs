//! Everything of a host that a program might change and forget to restore.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::tool::output;

/// Rules, routes, addresses, interfaces, sysctls and rules of nftables of a namespace, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Of the calling thread's network namespace, once its addresses are settled.
    pub fn take() -> io::Result<Self> {
        settle()?;
        let mut lines = BTreeSet::new();
        let questions = [
            "-4 rule show",
            "-6 rule show",
            "-4 route show table all",
            "-6 route show table all",
            "-oneline address show",
            "-oneline link show",
        ];
        for question in questions {
            for line in output("ip", question)?.lines() {
                lines.insert(format!("{question}: {}", without_carrier(line)));
            }
        }
        for (number, line) in output("nft", "list ruleset")?.lines().enumerate() {
            lines.insert(format!("nftables {number}: {line}"));
        }
        sysctls(Path::new("/proc/sys/net"), &mut lines)?;
        Ok(Self(lines))
    }

    /// The lines that only one of the two has: `-` before, `+` now.
    pub fn changes_since(&self, before: &Self) -> Vec<String> {
        let gone = before.0.difference(&self.0).map(|line| format!("- {line}"));
        let new = self.0.difference(&before.0).map(|line| format!("+ {line}"));
        gone.chain(new).collect()
    }
}

/// Waits until no address is tentative: the kernel adds its routes only then.
fn settle() -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !output("ip", "-6 address show tentative")?.is_empty() {
        if Instant::now() > deadline {
            return Err(io::Error::other("addresses stay tentative"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Whether an interface has its carrier is no setting, and the kernel takes its time to notice.
fn without_carrier(line: &str) -> String {
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if let Some(state) = words.iter().position(|word| word == "state") {
        words.drain(state..words.len().min(state + 2));
    }
    words.retain(|word| word != "linkdown");
    for flags in words.iter_mut().filter(|word| word.starts_with('<')) {
        *flags = flags.replace("NO-CARRIER,", "").replace(",LOWER_UP", "");
    }
    words.join(" ")
}

fn sysctls(folder: &Path, lines: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sysctls(&path, lines)?;
        } else if !is_state(&path)
            // Some can only be written.
            && let Ok(value) = fs::read_to_string(&path)
        {
            lines.insert(format!("{} = {}", path.display(), value.trim_end()));
        }
    }
    Ok(())
}

/// Some files below `/proc/sys` tell what goes on rather than how it is set.
fn is_state(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    ["nf_conntrack_count", "idle_timeout"]
        .iter()
        .any(|state| name == *state)
}

#[cfg(test)]
mod tests {
    use super::without_carrier;

    #[test]
    fn an_interface_is_the_same_with_and_without_its_carrier() {
        let with = "2: link0@if2: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 state UP mode DEFAULT";
        let without =
            "2: link0@if2: <NO-CARRIER,BROADCAST,MULTICAST,UP> mtu 1500 state DOWN mode DEFAULT";
        assert_eq!(without_carrier(with), without_carrier(without));
        let down = "2: link0@if2: <BROADCAST,MULTICAST> mtu 1500 state DOWN mode DEFAULT";
        assert_ne!(without_carrier(with), without_carrier(down));
        let route = "default via 10.77.1.2 dev link1 table 101 proto static";
        assert_eq!(without_carrier(&format!("{route} linkdown ")), route);
    }
}
