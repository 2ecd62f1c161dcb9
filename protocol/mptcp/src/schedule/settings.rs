//! Settings as people write them.

use std::time::Duration;

/// `key=value` pairs between commas.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = Result<(&str, &str), String>> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts.map(|part| {
        part.split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            .ok_or_else(|| format!("{part:?}: expected NAME=VALUE"))
    })
}

/// `600ms`, `1.5s` or `2s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time such as 600ms or 1.5s");
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s').ok_or_else(wrong)?, 1.0),
    };
    let seconds: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(seconds * unit).map_err(|_| wrong())
}

/// Bytes, perhaps with K, M or G (of 1024).
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no number of bytes such as 64K, 500M or 2G");
    let shift = match text.chars().last().map(|c| c.to_ascii_uppercase()) {
        Some('K') => 10,
        Some('M') => 20,
        Some('G') => 30,
        _ => 0,
    };
    let digits = if shift > 0 {
        &text[..text.len() - 1]
    } else {
        text
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// A whole number.
pub(crate) fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no number that fits here"))
}

/// Hundredths: `5` or `5%`.
pub(crate) fn percent(text: &str) -> Result<u8, String> {
    let digits = text.strip_suffix('%').unwrap_or(text);
    match digits.parse() {
        Ok(percent @ 0..=100) => Ok(percent),
        _ => Err(format!("{text:?} is no percentage from 0 to 100")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_people_write_them() {
        assert_eq!(duration("600ms"), Ok(Duration::from_millis(600)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert!(duration("7").is_err() && duration("-1s").is_err() && duration("xs").is_err());
        assert_eq!(bytes("64K"), Ok(65_536));
        assert_eq!(bytes("1000"), Ok(1000));
        assert!(bytes("K").is_err() && bytes("99999999999G").is_err());
        assert_eq!(percent("5%"), Ok(5));
        assert!(percent("101").is_err());
        let read: Result<Vec<_>, _> = pairs("a=1, b=2,").collect();
        assert_eq!(read, Ok(vec![("a", "1"), ("b", "2")]));
        assert!(pairs("a").next().is_some_and(|it| it.is_err()));
    }
}
