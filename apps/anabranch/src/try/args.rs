//! What `anabranch try` is told.

use std::fmt;
use std::str::FromStr;

use clap::Args;

/// See it work: 1 GiB down and up over two links, one of which fails halfway and comes back.
///
/// Builds two hosts inside this machine (network namespaces; nothing outside them is touched), joined
/// by two links of --rate each. One serves a file with `anabranch serve`; the other fetches it and
/// sends it back through Linux's own Multipath TCP. Then the same with Linux at both ends. Needs root
/// or the right to make user namespaces, and a kernel with Multipath TCP; where that is missing, it
/// says so and runs over a simulated network.
#[derive(Args, Debug, Clone)]
#[command(
    after_help = "Exit codes: 0 all bytes arrived as they were sent; 1 they did not, or a \
                        transfer did not end; 2 the command line is wrong; 130 interrupted."
)]
pub struct TryArgs {
    /// Bytes to move each way, with K, M or G [default: 1G; simulated: 64M]
    #[arg(long, value_name = "BYTES")]
    pub size: Option<Size>,

    /// Rate of each link, bits per second with K, M or G [default: 1G; simulated: 100M]
    #[arg(long, value_name = "BITS")]
    pub rate: Option<Rate>,

    /// Decides the content of the file, and every chance of the simulated network
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// Print the result as JSON on standard output; progress goes to standard error
    #[arg(long)]
    pub json: bool,

    /// Run over a simulated network, both ends being ours, even if the real one is available
    #[arg(long)]
    pub simulate: bool,
}

/// A number of bytes, 1 to 2^40.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Size(pub u64);

/// Bits per second, 1 Mbit/s to 100 Gbit/s.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rate(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let shape = "expected bytes from 1 to 1024G, such as 300000000, 64M or 2G";
        let bytes = scaled(text, 1024).filter(|n| (1..=1 << 40).contains(n));
        bytes.map(Size).ok_or_else(|| shape.to_owned())
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let shape = "expected bits per second from 1M to 100G, such as 50M or 2G";
        let bits = scaled(text, 1000).filter(|n| (1_000_000..=100_000_000_000).contains(n));
        bits.map(Rate).ok_or_else(|| shape.to_owned())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::text::rate(self.0 as f64))
    }
}

/// A number with an optional K, M or G, of `unit`, its square and its cube.
fn scaled(text: &str, unit: u64) -> Option<u64> {
    let (digits, power) = match text.char_indices().last()? {
        (at, 'K' | 'k') => (&text[..at], 1),
        (at, 'M' | 'm') => (&text[..at], 2),
        (at, 'G' | 'g') => (&text[..at], 3),
        _ => (text, 0),
    };
    let plain = digits.chars().all(|c| c.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| plain)?;
    number.checked_mul(unit.pow(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_of_1024_and_rates_of_1000() {
        assert_eq!("1G".parse(), Ok(Size(1 << 30)));
        assert_eq!("1g".parse(), Ok(Rate(1_000_000_000)));
        assert_eq!("12345".parse(), Ok(Size(12_345)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "G", "-1", "+1", "1.5G", "1T", "0", "99999999999G", "é"] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
            assert!(text.parse::<Rate>().is_err(), "{text:?}");
        }
        assert!("999K".parse::<Rate>().is_err());
    }
}
