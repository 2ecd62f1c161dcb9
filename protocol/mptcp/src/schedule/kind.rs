//! The schedulers there are, by name.

use super::{
    Adaptive, Backup, Blest, Ecf, MinRtt, PathRule, Redundant, RoundRobin, Scheduler, Thresholds,
    Weighted,
};
use std::fmt;
use std::str::FromStr;

/// The schedulers there are.
#[derive(Clone, Default, Debug)]
pub enum Kind {
    /// [`MinRtt`].
    #[default]
    MinRtt,
    /// [`RoundRobin`].
    RoundRobin,
    /// [`Redundant`].
    Redundant,
    /// [`Blest`].
    Blest,
    /// [`Ecf`].
    Ecf,
    /// [`Weighted`] by these rules.
    Weighted(Vec<PathRule>),
    /// [`Backup`] with these thresholds.
    Backup(Thresholds),
    /// [`Adaptive`] with this budget, percent.
    Adaptive(u8),
    /// Another, made at the start of each connection.
    Custom(fn() -> Box<dyn Scheduler>),
}

impl Kind {
    /// A new one.
    pub fn build(&self) -> Box<dyn Scheduler> {
        match self {
            Kind::MinRtt => Box::new(MinRtt),
            Kind::RoundRobin => Box::<RoundRobin>::default(),
            Kind::Redundant => Box::<Redundant>::default(),
            Kind::Blest => Box::<Blest>::default(),
            Kind::Ecf => Box::<Ecf>::default(),
            Kind::Weighted(rules) => Box::new(Weighted::new(rules.clone())),
            Kind::Backup(thresholds) => Box::new(Backup::new(thresholds.clone())),
            Kind::Adaptive(budget) => Box::new(Adaptive::new(*budget)),
            Kind::Custom(make) => make(),
        }
    }
}

/// Why a text names no scheduler.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownScheduler(String);

impl fmt::Display for UnknownScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnknownScheduler {}

/// A name, for some with settings: `adaptive:budget=10%`,
/// `backup:srtt=300ms,rto=1s,loss=10%,back=5s,prefer=192.0.2.1`,
/// `weighted:192.0.2.1 weight=3; 198.51.100.1 class=1 quota=2G rate=500K; * weight=1`.
impl FromStr for Kind {
    type Err = UnknownScheduler;

    fn from_str(text: &str) -> Result<Kind, UnknownScheduler> {
        let (name, settings) = text.split_once(':').unwrap_or((text, ""));
        let wrong = |error| UnknownScheduler(format!("scheduler {name}: {error}"));
        let kind = match name.trim() {
            "weighted" => return Weighted::parse(settings).map(Kind::Weighted).map_err(wrong),
            "backup" => return Thresholds::parse(settings).map(Kind::Backup).map_err(wrong),
            "adaptive" => return Adaptive::parse(settings).map(Kind::Adaptive).map_err(wrong),
            "minrtt" => Kind::MinRtt,
            "roundrobin" => Kind::RoundRobin,
            "redundant" => Kind::Redundant,
            "blest" => Kind::Blest,
            "ecf" => Kind::Ecf,
            _ => {
                return Err(UnknownScheduler(format!(
                    "no scheduler named {name:?}: minrtt, roundrobin, redundant, blest, ecf, \
                     weighted, backup or adaptive"
                )));
            }
        };
        if settings.is_empty() {
            Ok(kind)
        } else {
            Err(wrong("it has no settings".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedulers_are_known_by_name() {
        let names = "minrtt roundrobin redundant blest ecf weighted backup adaptive";
        for name in names.split(' ') {
            let kind: Kind = name.parse().expect(name);
            assert_eq!(kind.build().name(), name);
        }
        let wrong = "fastest".parse::<Kind>().map(|_| ());
        assert!(wrong.is_err_and(|error| error.to_string().contains("adaptive")));
    }

    #[test]
    fn some_have_settings() {
        let Ok(Kind::Adaptive(10)) = "adaptive:budget=10%".parse() else {
            panic!("a budget");
        };
        let text = "weighted:192.0.2.1 weight=3; * class=1 quota=2G rate=500K";
        let Ok(Kind::Weighted(rules)) = text.parse() else {
            panic!("rules");
        };
        assert_eq!(rules[0].weight, 3);
        assert_eq!((rules[1].class, rules[1].quota), (1, Some(2 << 30)));
        assert_eq!((rules[1].addr, rules[1].rate), (None, Some(500 << 10)));
        let Ok(Kind::Backup(limits)) = "backup:srtt=300ms,prefer=192.0.2.1".parse() else {
            panic!("thresholds");
        };
        assert_eq!(limits.srtt.as_millis(), 300);
        for wrong in [
            "minrtt:x=1",
            "adaptive:budget=x",
            "weighted:nowhere",
            "backup:a=b",
        ] {
            assert!(wrong.parse::<Kind>().is_err(), "{wrong}");
        }
    }
}
