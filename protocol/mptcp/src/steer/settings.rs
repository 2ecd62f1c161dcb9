//! What may be chosen.

use crate::schedule::settings::{duration, number, pairs};
use anabranch_tcp::packed;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What a peer that opened the connection is told about the paths of what it sends, while that is
/// little. As text: `slower=2,probe=on,give-up=returnable,confirm=20ms`, or `off`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Steering {
    /// A subflow whose round trip takes so many times as long as the best one's, in percent, is a
    /// backup for the peer (MP_PRIO); 0: none is.
    pub slower: u32,
    /// After an unusual silence, or where bytes are missing, the subflow that may be to blame is
    /// probed, once a second at most.
    pub probe: bool,
    /// Whether the peer is told to give up one that does not answer (REMOVE_ADDR).
    pub give_up: GiveUp,
    /// So long it must have been suspected before.
    pub confirm: Duration,
}

/// Which subflows a peer is told to give up, when they do not answer a probe while another does. It
/// closes them, and sends what was under way there on others at once.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum GiveUp {
    /// None.
    Never,
    /// Those that it opens again when our address is announced again: to an address of ours to which
    /// no other subflow goes.
    #[default]
    Returnable,
    /// The initial one as well where others go to the same address, which Linux's clients do not open
    /// again. For that, joins to the initial address have an ID of their own.
    Always,
}

impl Steering {
    /// Nothing is told.
    pub const OFF: Steering = Steering {
        slower: 0,
        probe: false,
        give_up: GiveUp::Never,
        confirm: Duration::ZERO,
    };
}

impl Default for Steering {
    fn default() -> Steering {
        Steering {
            slower: 200,
            probe: true,
            give_up: GiveUp::default(),
            confirm: Duration::ZERO,
        }
    }
}

packed!(Steering {
    slower,
    probe,
    give_up,
    confirm
});

packed!(
    enum GiveUp {
        Never,
        Returnable,
        Always,
    }
);

/// Not settings of a [`Steering`]: what is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownSteering(String);

impl fmt::Display for UnknownSteering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnknownSteering {}

impl FromStr for Steering {
    type Err = UnknownSteering;

    fn from_str(text: &str) -> Result<Steering, UnknownSteering> {
        match text.trim() {
            "off" => Ok(Steering::OFF),
            "on" => Ok(Steering::default()),
            text => parse(text).map_err(UnknownSteering),
        }
    }
}

fn parse(text: &str) -> Result<Steering, String> {
    let mut steering = Steering::default();
    for pair in pairs(text) {
        match pair? {
            ("slower", value) => steering.slower = percent(value)?,
            ("probe", value) => steering.probe = on(value)?,
            ("give-up", value) => steering.give_up = give_up(value)?,
            ("confirm", value) => steering.confirm = duration(value)?,
            (name, _) => {
                let known = "slower, probe, give-up or confirm, or off";
                return Err(format!("{name}: expected {known}"));
            }
        }
    }
    Ok(steering)
}

/// `2` or `1.5` times; 0 is never.
fn percent(text: &str) -> Result<u32, String> {
    let times: f64 = number(text)?;
    match times {
        0.0 => Ok(0),
        1.1..=1000.0 => Ok((times * 100.0).round() as u32),
        _ => Err(format!("{text:?} is not 0, nor from 1.1 to 1000 times")),
    }
}

fn on(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{text:?} is neither on nor off")),
    }
}

fn give_up(text: &str) -> Result<GiveUp, String> {
    match text {
        "never" => Ok(GiveUp::Never),
        "returnable" => Ok(GiveUp::Returnable),
        "always" => Ok(GiveUp::Always),
        _ => Err(format!("{text:?} is none of never, returnable, always")),
    }
}

impl fmt::Display for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Steering::OFF {
            return f.write_str("off");
        }
        let give_up = match self.give_up {
            GiveUp::Never => "never",
            GiveUp::Returnable => "returnable",
            GiveUp::Always => "always",
        };
        write!(
            f,
            "slower={},probe={},give-up={give_up},confirm={}ms",
            f64::from(self.slower) / 100.0,
            if self.probe { "on" } else { "off" },
            self.confirm.as_millis()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_are_shown() {
        for text in [
            "off",
            "slower=2,probe=on,give-up=returnable,confirm=20ms",
            "slower=1.5,probe=off,give-up=always,confirm=0ms",
            "slower=0,probe=on,give-up=never,confirm=100ms",
        ] {
            let read: Steering = text.parse().expect(text);
            assert_eq!(read.to_string(), text);
        }
        assert_eq!("on".parse(), Ok(Steering::default()));
        for wrong in [
            "slower=1",
            "slower=x",
            "give-up=maybe",
            "probe=1",
            "fast=2",
            "confirm=1",
        ] {
            assert!(wrong.parse::<Steering>().is_err(), "{wrong}");
        }
    }
}
