//! BBR over a path of its own: a rate, a delay, a queue; segments of 1000 bytes.

use super::*;
use crate::rate::{Sampler, Stamp};
use crate::recovery::scoreboard::Run;
use std::collections::VecDeque;

const MSS: u64 = 1000;
const MS: Duration = Duration::from_millis(1);

struct Packet {
    run: Run,
    /// When its acknowledgement comes; `None`: never.
    acked_at: Option<Instant>,
}

struct Path {
    bbr: Bbr,
    now: Instant,
    /// Bytes per second, round-trip time without queue, bytes that may queue.
    rate: u64,
    rtt: Duration,
    queue: u64,
    /// Every so many packets one is lost; 0: none.
    lose_every: u64,
    /// Packets that the application has; `None`: any number.
    app: Option<u64>,
    sampler: Sampler,
    flying: VecDeque<Packet>,
    pipe: u64,
    next: u64,
    lost: u64,
    free_at: Instant,
    send_at: Instant,
    recovery_ends: Option<u64>,
    /// States passed through.
    states: Vec<State>,
    delivered: u64,
}

impl Path {
    fn new(rate: u64, rtt_ms: u64, queue: u64) -> Path {
        let rtt = Duration::from_millis(rtt_ms);
        let start = Instant(1_000_000_000);
        let bbr = Bbr::new(Init {
            mss: MSS as u32,
            initial_window: 10 * MSS,
            srtt: Some(rtt),
            abe: false,
            seed: 7,
        });
        Path {
            bbr,
            now: start,
            rate,
            rtt,
            queue,
            lose_every: 0,
            app: None,
            sampler: Sampler::default(),
            flying: VecDeque::new(),
            pipe: 0,
            next: 0,
            lost: 0,
            free_at: start,
            send_at: start,
            recovery_ends: None,
            states: vec![State::Startup],
            delivered: 0,
        }
    }

    fn bdp(&self) -> u64 {
        bytes_in(self.rate, self.rtt)
    }

    fn queued(&self) -> u64 {
        bytes_in(self.rate, self.free_at.since(self.now))
    }

    fn send(&mut self) {
        if self.pipe == 0 && self.sampler.is_app_limited() {
            self.bbr.on_restart(self.now);
        }
        let stamp: Stamp = self.sampler.on_sent(self.now, MSS, self.pipe, self.lost);
        let run = Run {
            start: self.next,
            end: self.next + MSS,
            sent_at: self.now,
            again: false,
            stamp,
        };
        self.next += MSS;
        self.pipe += MSS;
        let number = self.next / MSS;
        let unlucky = self.lose_every > 0 && number.is_multiple_of(self.lose_every);
        let fits = self.queued() + MSS <= self.queue + MSS && !unlucky;
        let acked_at = fits.then(|| {
            let busy = Duration::from_nanos(MSS * 1_000_000_000 / self.rate);
            self.free_at = self.free_at.max(self.now) + busy;
            self.free_at + self.rtt
        });
        self.flying.push_back(Packet { run, acked_at });
        let pace = Duration::from_nanos(MSS * 1_000_000_000 / self.bbr.pacing_rate);
        self.send_at = self.send_at.max(self.now - MS) + pace;
        self.app = self.app.map(|left| left - 1);
        if self.app == Some(0) {
            self.sampler.mark_app_limited(self.pipe);
        }
    }

    /// The acknowledgement of the packet at `i`: what was sent before it and did not arrive is
    /// lost.
    fn acknowledge(&mut self, i: usize) {
        let limited = self.pipe + MSS > self.bbr.cwnd;
        let packet = self.flying.remove(i).expect("a packet");
        let missing: Vec<_> = self.flying.drain(..i).map(|p| p.run).collect();
        self.pipe -= MSS * (1 + missing.len() as u64);
        let sample = self
            .sampler
            .on_delivered(self.now, MSS, Some(packet.run), self.rtt);
        self.delivered += MSS;
        if !missing.is_empty() && self.recovery_ends.is_none() {
            self.bbr.on_loss(self.now, self.pipe, MSS as u32);
            self.recovery_ends = Some(self.next);
        }
        for run in &missing {
            self.lost += MSS;
            self.bbr.on_lost(&Lost {
                start: run.start,
                end: run.end,
                lost: self.lost - run.stamp.lost,
                tx_in_flight: run.stamp.in_flight,
                app_limited: run.stamp.app_limited,
                total_delivered: self.sampler.delivered(),
            });
        }
        if self.recovery_ends.is_some_and(|end| packet.run.end >= end) {
            self.recovery_ends = None;
            self.bbr.recovered();
        }
        let sample = RateSample {
            lost: self.lost - sample.prior_lost,
            newly_lost: MSS * missing.len() as u64,
            ..sample
        };
        let rtt = self.now.since(packet.run.sent_at);
        let ack = Ack {
            pipe: self.pipe,
            rtt: Some(rtt),
            srtt: rtt,
            now: self.now,
            cwnd_limited: limited,
            ..super::super::tests::ack(0, MSS)
        };
        self.bbr.on_sample(&ack, &sample);
        if self.bbr.is_probing_rtt() {
            self.sampler.mark_app_limited(self.pipe);
        }
        if self.states.last() != Some(&self.bbr.state) {
            self.states.push(self.bbr.state);
        }
    }

    fn step(&mut self) {
        let may = self.pipe + MSS <= self.bbr.cwnd && self.app != Some(0);
        let send = may.then_some(self.send_at.max(self.now));
        let acks = self.flying.iter().enumerate();
        let ack = acks
            .filter_map(|(i, p)| p.acked_at.map(|at| (at, i)))
            .next();
        match (send, ack) {
            (Some(at), Some((due, i))) if due <= at => {
                self.now = due;
                self.acknowledge(i);
            }
            (Some(at), _) => {
                self.now = at;
                self.send();
            }
            (None, Some((due, i))) => {
                self.now = due;
                self.acknowledge(i);
            }
            (None, None) => {
                // All that was in flight is gone: a timeout.
                let gone = self.flying.len() as u64 * MSS;
                self.flying.clear();
                self.lost += gone;
                self.pipe = 0;
                self.now = self.now + Duration::from_millis(300);
                if gone > 0 {
                    self.bbr.on_rto(self.now, gone, MSS as u32, true);
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    fn run_until(&mut self, state: State) {
        let end = self.now + Duration::from_secs(30);
        while self.bbr.state != state {
            self.step();
            assert!(self.now < end, "never {state:?}: {:?}", self.states);
        }
    }

    /// Percent of the path's rate that was used for so long.
    fn used(&mut self, time: Duration) -> u64 {
        let before = self.delivered;
        self.run(time);
        (self.delivered - before) * 100 / bytes_in(self.rate, time)
    }
}

/// 10 Mbit/s, 40 ms, and four bandwidth-delay products of queue.
fn path() -> Path {
    Path::new(1_250_000, 40, 200_000)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn startup_ends_when_the_rate_stops_growing() {
    let mut path = path();
    path.run_until(State::Drain);
    assert!(path.bbr.full.now && path.bbr.full.reached);
    let (found, real) = (path.bbr.max_bw.get(), path.rate);
    assert!(found.abs_diff(real) * 50 <= real, "{found} of {real}");
}

#[test]
fn an_unlucky_first_sample_of_a_round_hides_no_growth() {
    let mut path = path();
    let sample = |start: bool, rate: u64, path: &mut Path| {
        path.bbr.rounds.start = start;
        path.bbr.check_full_bw(&RateSample {
            delivery_rate: rate,
            ..RateSample::default()
        });
    };
    let mut rate = 100_000;
    for _ in 0..5 {
        sample(true, 90_000, &mut path);
        rate *= 2;
        sample(false, rate, &mut path);
    }
    assert!(!path.bbr.full.reached);
    for _ in 0..3 {
        sample(true, rate, &mut path);
    }
    assert!(path.bbr.full.reached);
}

#[test]
fn bbr_drains_the_queue_that_startup_built() {
    let mut path = path();
    path.run_until(State::Drain);
    assert!(path.queued() > path.bdp() / 2, "{}", path.queued());
    path.run_until(State::Cruise);
    assert!(path.queued() < path.bdp() / 4, "{}", path.queued());
    assert!(path.pipe <= path.bbr.full_pipe());
}

#[test]
fn the_cycle_goes_down_cruises_refills_and_probes() {
    let mut path = path();
    path.run_until(State::Up);
    path.run_until(State::Down);
    use State::*;
    // The acknowledgement that ends Drain finds nothing left to do in Down.
    assert_eq!(path.states, [Startup, Drain, Cruise, Refill, Up, Down]);
}

#[test]
fn the_path_is_filled_and_the_queue_short() {
    let mut path = path();
    path.run(secs(2));
    let used = path.used(secs(10));
    assert!(used >= 94, "{used} %");
    assert!(path.queued() <= path.bdp(), "{}", path.queued());
}

#[test]
fn losses_of_one_percent_cost_little() {
    let mut path = path();
    path.lose_every = 100;
    path.run(secs(2));
    let used = path.used(secs(10));
    assert!(used >= 80, "{used} %");
}

#[test]
fn a_shallow_queue_bounds_what_is_in_flight() {
    let mut path = Path::new(1_250_000, 40, 10_000);
    path.run(secs(10));
    assert!(
        path.bbr.inflight_hi < 2 * path.bdp(),
        "{}",
        path.bbr.inflight_hi
    );
    let lost = path.lost;
    let used = path.used(secs(10));
    assert!(used >= 75, "{used} %");
    let sent = bytes_in(path.rate, secs(10));
    assert!((path.lost - lost) * 50 < sent, "{}", path.lost - lost);
}

#[test]
fn many_losses_in_a_round_end_startup() {
    let mut path = Path::new(1_250_000, 40, 200_000);
    path.lose_every = 12;
    path.run_until(State::Drain);
    assert_ne!(path.bbr.inflight_hi, INFINITY);
}

#[test]
fn the_round_trip_time_is_probed_every_five_seconds() {
    let mut path = path();
    path.run(secs(4));
    assert!(!path.states.contains(&State::ProbeRtt));
    path.run_until(State::ProbeRtt);
    let began = path.now;
    let before = path.bbr.cwnd;
    path.run_until(State::Cruise);
    let took = path.now.since(began);
    assert!(took >= 200 * MS && took < 400 * MS, "{took:?}");
    assert!(
        before <= path.bdp() * 6 / 10 + 4 * MSS,
        "half of the pipe: {before}"
    );
    let rtt = path.bbr.min.rtt().expect("measured");
    assert!(rtt < 42 * MS, "{rtt:?}");
}

#[test]
fn a_pause_of_the_application_counts_as_a_probe_of_the_round_trip_time() {
    let mut path = path();
    path.app = Some(3000);
    path.run(secs(4));
    assert_eq!(path.pipe, 0);
    let seen = path.states.len();
    path.now = path.now + secs(6);
    path.app = Some(100);
    path.run(200 * MS);
    assert!(
        !path.states[seen..].contains(&State::ProbeRtt),
        "{:?}",
        path.states
    );
    assert!(path.bbr.pacing_rate * 100 >= path.rate * 85);
}

#[test]
fn samples_that_the_application_limits_do_not_lower_the_bandwidth() {
    let mut path = path();
    path.run(secs(2));
    let known = path.bbr.max_bw.get();
    for _ in 0..100 {
        path.app = Some(2);
        path.run(50 * MS);
    }
    assert_eq!(path.bbr.max_bw.get(), known);
}

#[test]
fn ten_times_the_bandwidth_is_found_in_seconds() {
    let mut path = path();
    path.run(secs(3));
    path.rate *= 10;
    path.run(secs(12));
    let used = path.used(secs(3));
    assert!(used >= 80, "{used} % of ten times the rate");
}

#[test]
fn a_tenth_of_the_bandwidth_is_believed_after_two_cycles() {
    let mut path = Path::new(1_250_000, 40, 50_000);
    path.run(secs(3));
    path.rate /= 10;
    path.run(secs(20));
    let (bw, rate) = (path.bbr.max_bw.get(), path.rate);
    assert!(bw < 2 * rate, "{bw} for {rate}");
    assert!(path.used(secs(5)) >= 85);
}

#[test]
fn a_tiny_pipe_keeps_four_segments() {
    let mut path = Path::new(12_500, 10, 20_000);
    path.run(secs(10));
    assert!(path.bbr.cwnd >= 4 * MSS);
    assert!(path.used(secs(10)) >= 90);
}

#[test]
fn a_spurious_loss_gives_back_what_it_took() {
    let mut path = path();
    path.run_until(State::Up);
    let (hi, cwnd) = (path.bbr.inflight_hi, path.bbr.cwnd);
    let lost = Lost {
        start: 0,
        end: 20 * MSS,
        lost: 20 * MSS,
        tx_in_flight: path.pipe,
        app_limited: false,
        total_delivered: path.sampler.delivered(),
    };
    path.bbr.on_loss(path.now, path.pipe, MSS as u32);
    path.bbr.on_lost(&lost);
    assert_eq!(path.bbr.state, State::Down);
    assert_ne!(path.bbr.inflight_hi, hi);
    path.bbr.undo();
    assert_eq!(path.bbr.state, State::Refill, "the probe begins again");
    assert_eq!(path.bbr.inflight_hi, hi);
    assert!(path.bbr.cwnd >= cwnd);
}

#[test]
fn a_timeout_leaves_one_segment_and_recovery_restores_the_window() {
    let mut path = path();
    path.run(secs(3));
    let cwnd = path.bbr.cwnd;
    path.bbr.on_rto(path.now, path.pipe, MSS as u32, true);
    assert_eq!(path.bbr.cwnd, MSS);
    path.bbr.recovered();
    assert_eq!(path.bbr.cwnd, cwnd);
}

#[test]
fn marks_in_startup_end_it() {
    let mut path = path();
    path.run(100 * MS);
    path.bbr.on_ecn(path.now, path.pipe, MSS as u32);
    path.run_until(State::Drain);
    assert_ne!(path.bbr.inflight_hi, INFINITY);
}
