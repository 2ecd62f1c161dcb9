//! Two senders at once through one queue.

use crate::relayed::ends::{Congestion, Kind, Receiver, Sender};
use crate::relayed::path::Path;
use crate::relayed::series::Series;
use crate::report::{self, median};
use anabranch_interop::require;
use anabranch_sim::LinkConfig;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// Ports of the two.
const PORTS: [u16; 2] = [5001, 5002];
/// Pairs of senders.
const PAIRS: [[Kind; 2]; 3] = [
    [Kind::Anabranch, Kind::Kernel],
    [Kind::Anabranch, Kind::Anabranch],
    [Kind::Kernel, Kind::Kernel],
];
/// Mbit/s, round-trip time in ms, and how much longer than the first a run takes: shares settle over
/// several of CUBIC's cycles, which last longer the larger the window is (RFC 9438 §4.2).
type Link = (u64, u64, f64);
const LINKS: [Link; 4] = [(10, 20, 1.0), (10, 80, 1.5), (100, 20, 2.0), (100, 80, 3.0)];

/// Options of this scene.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Runs of each pair on each link, an even number, so that each is first as often as the other;
    /// medians are reported.
    #[arg(long, default_value_t = 4)]
    rounds: u64,
    /// Only links whose name contains this, such as `10M-80ms`.
    #[arg(long)]
    cell: Option<String>,
    /// Seconds of a run on the shortest link, three times as many on the largest; the first quarter
    /// does not count.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// One short round: rough figures.
    #[arg(long)]
    quick: bool,
    /// Congestion control of both senders.
    #[arg(long, value_enum, default_value_t = Congestion::Cubic)]
    congestion: Congestion,
    /// Write the table into this file, where it says so.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    series: Series,
}

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sample {
    round: u64,
    pair: [Kind; 2],
    mbit: u64,
    rtt_ms: u64,
    /// Payload of each at the receiver, Mbit/s.
    mbits: [f64; 2],
}

impl Sample {
    /// The first one's part of the sum.
    fn share(&self) -> f64 {
        self.mbits[0] / self.sum()
    }

    fn sum(&self) -> f64 {
        self.mbits[0] + self.mbits[1]
    }

    /// Jain's index: 1 where both have the same, 0.5 where one has all.
    fn jain(&self) -> f64 {
        let [a, b] = self.mbits;
        (a + b).powi(2) / (2.0 * (a * a + b * b))
    }
}

/// Every pair on every link, interleaved.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    if !require::lab() {
        return Ok(());
    }
    let (rounds, seconds) = match options.quick {
        true => (1, options.seconds / 2.0),
        false => (options.rounds.max(1), options.seconds),
    };
    let links: Vec<_> = LINKS
        .into_iter()
        .filter(|link| {
            options
                .cell
                .as_ref()
                .is_none_or(|part| name(link).contains(part))
        })
        .collect();
    let mut samples: Vec<Sample> = options.series.earlier()?;
    let first = samples.iter().map(|it| it.round + 1).max().unwrap_or(0);
    let rounds = first + rounds;
    // Neighbours are different links, so that runs at the same time are not all of the largest.
    let mut jobs = Vec::new();
    for round in first..rounds {
        for pair in PAIRS {
            jobs.extend(links.iter().map(|link| (round, pair, *link)));
        }
    }
    let new = options.series.run(&jobs, |&(round, pair, link)| {
        let sample = measure(pair, &link, round, seconds * link.2, options.congestion)?;
        eprintln!(
            "{}/{rounds} {} {} {:.2} + {} {:.2} Mbit/s, {:.0} %",
            round + 1,
            name(&link),
            pair[0],
            sample.mbits[0],
            pair[1],
            sample.mbits[1],
            100.0 * sample.share()
        );
        Ok(sample)
    })?;
    samples.extend(new);
    let table = table(&links, &samples, rounds, options.congestion);
    let title = format!("fairness {}", options.congestion);
    report::publish(&table, &title, options.write.as_deref())?;
    options.series.keep(&samples)
}

fn name((mbit, rtt_ms, _): &Link) -> String {
    format!("{mbit}M-{rtt_ms}ms")
}

fn measure(
    pair: [Kind; 2],
    &(mbit, rtt_ms, _): &Link,
    round: u64,
    seconds: f64,
    congestion: Congestion,
) -> io::Result<Sample> {
    let link = LinkConfig::new(mbit, rtt_ms / 2);
    let path = Path::new((link.clone(), link), round, None)?;
    let receivers = [
        Receiver::start(&path, PORTS[0])?,
        Receiver::start(&path, PORTS[1])?,
    ];
    // Who comes first changes from round to round: the other begins to connect when it is connected,
    // a round trip later.
    let mut order = [0, 1];
    if round % 2 == 1 {
        order.reverse();
    }
    let mut senders = Vec::new();
    for n in order {
        let number = n as u8;
        senders.push(Sender::start(&path, pair[n], congestion, number, PORTS[n])?);
    }
    for receiver in &receivers {
        receiver.first()?;
    }
    thread::sleep(Duration::from_secs_f64(seconds / 4.0));
    let bytes = || [receivers[0].bytes(), receivers[1].bytes()];
    let before = bytes();
    let length = seconds * 3.0 / 4.0;
    thread::sleep(Duration::from_secs_f64(length));
    let after = bytes();
    for sender in senders {
        sender.stop(&path)?;
    }
    path.close()?;
    Ok(Sample {
        round,
        pair,
        mbit,
        rtt_ms,
        mbits: [0, 1].map(|n| (after[n] - before[n]) as f64 * 8.0 / length / 1e6),
    })
}

fn table(links: &[Link], samples: &[Sample], rounds: u64, congestion: Congestion) -> String {
    let mut table = format!(
        "{congestion} at both senders, median of {rounds} runs.\n\n\
         | Mbit/s | RTT, ms | senders | share of the first | least, most | Jain's index | sum, Mbit/s |\n\
         |---|---|---|---|---|---|---|\n"
    );
    for &(mbit, rtt_ms, _) in links {
        for pair in PAIRS {
            let all: Vec<_> = samples
                .iter()
                .filter(|it| it.pair == pair && (it.mbit, it.rtt_ms) == (mbit, rtt_ms))
                .collect();
            let of = |value: fn(&Sample) -> f64| median(all.iter().map(|it| value(it)).collect());
            let share = |pick: fn(f64, f64) -> f64| {
                let shares = all.iter().map(|it| 100.0 * it.share());
                shares.reduce(pick).unwrap_or(f64::NAN)
            };
            table += &format!(
                "| {mbit} | {rtt_ms} | {} and {} | {:.0} % | {:.0}, {:.0} % | {:.3} | {:.2} |\n",
                pair[0],
                pair[1],
                100.0 * of(Sample::share),
                share(f64::min),
                share(f64::max),
                of(Sample::jain),
                of(Sample::sum),
            );
        }
    }
    table
}
