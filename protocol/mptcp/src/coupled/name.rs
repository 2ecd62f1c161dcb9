//! Kinds of congestion control by name.

use super::Kind;
use anabranch_tcp::congestion::Algorithm;
use std::fmt;
use std::str::FromStr;

/// What a connection's congestion control is.
#[derive(Clone, Copy, Debug)]
pub enum Congestion {
    /// Each subflow for itself, by this algorithm.
    Alone(Algorithm),
    /// All of them together.
    Coupled(Kind),
}

impl Default for Congestion {
    fn default() -> Congestion {
        Congestion::Alone(Algorithm::default())
    }
}

impl Congestion {
    /// Its name, as it is parsed.
    pub fn name(self) -> &'static str {
        match self {
            Congestion::Alone(Algorithm::Cubic) => "cubic",
            Congestion::Alone(Algorithm::NewReno) => "reno",
            Congestion::Alone(Algorithm::Bbr) => "bbr",
            Congestion::Alone(_) => "custom",
            Congestion::Coupled(Kind::Lia) => "lia",
            Congestion::Coupled(Kind::Olia) => "olia",
            Congestion::Coupled(Kind::Balia) => "balia",
            Congestion::Coupled(Kind::Wvegas) => "wvegas",
        }
    }
}

impl fmt::Display for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no kind's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownCongestion(String);

impl fmt::Display for UnknownCongestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no congestion control named {:?}: cubic, reno, bbr, or coupled lia, olia, balia, wvegas",
            self.0
        )
    }
}

impl std::error::Error for UnknownCongestion {}

impl FromStr for Congestion {
    type Err = UnknownCongestion;

    fn from_str(name: &str) -> Result<Congestion, UnknownCongestion> {
        let all = [Kind::Lia, Kind::Olia, Kind::Balia, Kind::Wvegas].map(Congestion::Coupled);
        if let Some(coupled) = all.into_iter().find(|it| it.name() == name) {
            return Ok(coupled);
        }
        let alone = name.parse().map(Congestion::Alone);
        alone.map_err(|_| UnknownCongestion(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_name() {
        for name in ["cubic", "reno", "bbr", "lia", "olia", "balia", "wvegas"] {
            let kind: Congestion = name.parse().expect(name);
            assert_eq!(kind.to_string(), name);
        }
        assert!("vegas".parse::<Congestion>().is_err());
    }
}
