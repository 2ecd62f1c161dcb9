//! Figures as people read them.

use std::time::Duration;

/// Bytes in units of 1024.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..0x400 => format!("{n} B"),
        0x400..0x10_0000 => format!("{:.1} KiB", n as f64 / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.0} MiB", n as f64 / f64::from(1 << 20)),
        _ => format!("{:.2} GiB", n as f64 / f64::from(1 << 30)),
    }
}

/// Bits per second in units of 1000.
pub(crate) fn rate(bits: f64) -> String {
    if bits < 999.5e6 {
        format!("{:.0} Mbit/s", bits / 1e6)
    } else {
        format!("{:.2} Gbit/s", bits / 1e9)
    }
}

/// A time from milliseconds to minutes.
pub(crate) fn time(t: Duration) -> String {
    let seconds = t.as_secs_f64();
    if seconds < 0.9995 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 100.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{}:{:02} min", t.as_secs() / 60, t.as_secs() % 60)
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_the_size() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(1 << 29), "512 MiB");
        assert_eq!(bytes(1 << 30), "1.00 GiB");
        assert_eq!(rate(1e6), "1 Mbit/s");
        assert_eq!(rate(1.84e9), "1.84 Gbit/s");
        assert_eq!(time(Duration::from_millis(373)), "373 ms");
        assert_eq!(time(Duration::from_millis(5432)), "5.43 s");
        assert_eq!(time(Duration::from_secs(125)), "2:05 min");
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }
}
