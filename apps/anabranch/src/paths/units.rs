//! Values of the file that are written as text.

use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use anabranch_paths::{Flags, Pattern, Prefix};
use anabranch_stack::{Congestion, Scheduler, Steering};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A value written as text, and understood as it is read: what is wrong is told of its line.
#[derive(Clone, Debug)]
pub(super) struct Text<T>(pub(super) T);

/// How a type is written.
pub(super) trait Written: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// What is expected instead.
    fn read(text: &str) -> Result<Self, String>;
}

impl<'de, T: Written> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<T: Written> Visitor<'_> for Reader<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text in quotes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<T>, E> {
                T::read(text).map(Text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Reader(PhantomData))
    }
}

fn parsed<T: FromStr>(text: &str, expected: &str) -> Result<T, String> {
    let wrong = |_| format!("\"{text}\": expected {expected}");
    text.parse().map_err(wrong)
}

fn told<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("\"{text}\": {error}"))
}

impl Written for std::net::IpAddr {
    fn read(text: &str) -> Result<Self, String> {
        parsed(text, "an address, such as 192.0.2.1 or 2001:db8::1")
    }
}

impl Written for Scheduler {
    fn read(text: &str) -> Result<Self, String> {
        told(text)
    }
}

impl Written for Congestion {
    fn read(text: &str) -> Result<Self, String> {
        told(text)
    }
}

impl Written for Steering {
    fn read(text: &str) -> Result<Self, String> {
        told(text)
    }
}

impl Written for Prefix {
    fn read(text: &str) -> Result<Self, String> {
        told(text)
    }
}

impl Written for Pattern {
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("expected a name, in which * stands for any characters".into());
        }
        Ok(Pattern::new(text))
    }
}

impl Written for Duration {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\": expected a time, such as 500ms, 2s or 1m");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let milliseconds = match unit {
            "ms" => Some(number),
            "s" => number.checked_mul(1000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            _ => None,
        };
        milliseconds.map(Duration::from_millis).ok_or_else(wrong)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes(pub(super) u64);

impl Written for Bytes {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\": expected bytes, such as 4096, 100K or 2M");
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let shift = match unit {
            "" => 0,
            "K" => 10,
            "M" => 20,
            "G" => 30,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).map(Bytes).ok_or_else(wrong)
    }
}

/// A flag of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag(pub(super) Flags);

impl Written for Flag {
    fn read(text: &str) -> Result<Self, String> {
        let flag = Flags::by_name(text).filter(|flag| *flag != Flags::IMPLICIT);
        let expected = "expected signal, subflow, backup, fullmesh or laminar";
        flag.map(Flag)
            .ok_or_else(|| format!("\"{text}\": {expected}"))
    }
}
