//! The figures as a table.

use crate::scene::{Direction, Pinning, Sample};

/// Prints medians and ratios as Markdown.
pub(crate) fn print(samples: &[Sample], rounds: usize, seconds: f64, controller: &str) {
    println!("Kernel client with two subflows over two veth pairs, MTU 1500; payload in Gbit/s,");
    println!("kernels with {controller}, anabranch with CUBIC.");
    println!(
        "CPU seconds of the whole machine per GB; median of {rounds} interleaved runs of {seconds} s.\n"
    );
    println!(
        "| ends | direction | anabranch | kernel | dumb TUN | × kernel | × dumb | CPU s/GB: anabranch | kernel | dumb |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for pinning in [Pinning::One, Pinning::Two, Pinning::Free] {
        for direction in [Direction::Upload, Direction::Download] {
            let of = |server: &str, value: fn(&Sample) -> f64| {
                let same = |s: &&Sample| {
                    s.pinning == pinning && s.direction == direction && s.server == server
                };
                median(samples.iter().filter(same).map(value).collect())
            };
            let speed = ["anabranch", "kernel", "dumb"].map(|s| of(s, |s| s.gbits));
            let cpu = ["anabranch", "kernel", "dumb"].map(|s| of(s, |s| s.cpu_per_gb));
            println!(
                "| {} | {} | {:.1} | {:.1} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
                match pinning {
                    Pinning::One => "one core",
                    Pinning::Two => "two cores",
                    Pinning::Free => "not pinned",
                },
                match direction {
                    Direction::Upload => "to the server",
                    Direction::Download => "from the server",
                },
                speed[0],
                speed[1],
                speed[2],
                speed[0] / speed[1],
                speed[0] / speed[2],
                cpu[0],
                cpu[1],
                cpu[2],
            );
        }
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}
