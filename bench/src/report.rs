//! The figures as a table.

use std::io;
use std::path::Path;

use crate::scene::{Direction, Pinning, Sample, servers};

/// Prints medians and ratios as Markdown.
pub(crate) fn print(
    samples: &[Sample],
    rounds: usize,
    seconds: f64,
    controller: &str,
    plain: bool,
) {
    match plain {
        true => println!("Kernel client with plain TCP over a veth pair, MTU 1500;"),
        false => {
            println!("Kernel client with two subflows over two veth pairs, MTU 1500;");
        }
    }
    println!("payload in Gbit/s, kernels with {controller}, anabranch with CUBIC.");
    println!(
        "CPU seconds of the whole machine per GB; median of {rounds} interleaved runs of {seconds} s.\n"
    );
    let names: Vec<_> = servers(plain).iter().map(|it| it.name()).collect();
    let ratios: Vec<_> = names[1..].iter().map(|name| format!("× {name}")).collect();
    println!(
        "| ends | direction | {} | {} | CPU s/GB: {} |",
        names.join(" | "),
        ratios.join(" | "),
        names.join(" | "),
    );
    println!("|---|---{}|", "|---".repeat(3 * names.len() - 1));
    for pinning in [Pinning::One, Pinning::Two, Pinning::Free] {
        for direction in [Direction::Upload, Direction::Download] {
            let of = |server: &str, value: fn(&Sample) -> f64| {
                let same = |s: &&Sample| {
                    s.pinning == pinning && s.direction == direction && s.server == server
                };
                median(samples.iter().filter(same).map(value).collect())
            };
            let speed: Vec<_> = names.iter().map(|name| of(name, |s| s.gbits)).collect();
            let ratio: Vec<_> = speed[1..].iter().map(|other| speed[0] / other).collect();
            let cpu: Vec<_> = names
                .iter()
                .map(|name| of(name, |s| s.cpu_per_gb))
                .collect();
            println!(
                "| {} | {} | {} | {} | {} |",
                match pinning {
                    Pinning::One => "one core",
                    Pinning::Two => "two cores",
                    Pinning::Free => "not pinned",
                },
                match direction {
                    Direction::Upload => "to the server",
                    Direction::Download => "from the server",
                },
                row(&speed, 1),
                row(&ratio, 2),
                row(&cpu, 2),
            );
        }
    }
}

/// Prints a scene's table; with a file also writes it there, between the lines `<!-- NAME -->` and
/// `<!-- end of NAME -->`.
pub(crate) fn publish(table: &str, name: &str, file: Option<&Path>) -> io::Result<()> {
    println!("{table}");
    let Some(file) = file else { return Ok(()) };
    let old = std::fs::read_to_string(file)?;
    let (start, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let parts = old
        .split_once(&start)
        .and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let Some((before, after)) = parts else {
        let missing = format!("{} has no lines {start}{end}", file.display());
        return Err(io::Error::other(missing.replace('\n', " and ")));
    };
    std::fs::write(file, format!("{before}{start}\n{table}\n{end}{after}"))
}

/// Figures as cells of a row, with so many decimals.
fn row(figures: &[f64], decimals: usize) -> String {
    let cells: Vec<_> = figures
        .iter()
        .map(|it| format!("{it:.decimals$}"))
        .collect();
    cells.join(" | ")
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
