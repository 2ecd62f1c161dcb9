//! A host on several cores.

use crate::host::{Host, Part, shut_down};
use crate::lanes::Lanes;
use crate::listener::Listener;
use crate::shared::Clock;
use anabranch_drivers::{Driver, IcmpErrors};
use anabranch_stack::{Config, Counter, FlowInfo, Instant, Limits, ListenConfig};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::thread;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// One host made of several, each of which has a thread, a stack, and a device (or a queue of one)
/// of its own, and no lock in common with the others. Clones are the same host.
///
/// A connection belongs to the shard that its first packet reached, and should be used on that
/// shard's thread: see [`Shard::spawn`]. Packets that reach another shard, as those of further
/// subflows do until the device knows better, are handed over between threads.
///
/// With one device there is one shard, on the current runtime, and it costs what a [`Host`] does.
#[derive(Clone, Debug)]
pub struct Shards {
    shards: Arc<[Shard]>,
    /// The threads go on until these are dropped, and until their hosts have ended.
    _threads: Arc<[oneshot::Sender<()>]>,
}

/// A [`Host`] and the thread it is on.
#[derive(Debug)]
pub struct Shard {
    host: Host,
    runtime: Handle,
}

impl Deref for Shard {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl Shard {
    /// Runs a task on this shard's thread, where using its connections waits for nobody.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.runtime.spawn(task);
    }
}

impl From<Host> for Shards {
    /// A host of one shard, on the current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    fn from(host: Host) -> Shards {
        let runtime = Handle::current();
        Shards {
            shards: [Shard { host, runtime }].into(),
            _threads: [].into(),
        }
    }
}

impl Shards {
    /// Starts a host with a shard for each of `devices`, at least 1 and at most 64: the first on the
    /// current runtime, each further one on a thread of its own. What [`Limits`] bound in total is
    /// divided among them.
    ///
    /// # Errors
    /// Those of [`Host::start`]; `InvalidInput` for a number of devices that cannot be; the system
    /// gives no thread.
    ///
    /// # Panics
    /// As [`Host::start`].
    pub fn start<D>(devices: Vec<D>, config: Config) -> io::Result<Shards>
    where
        D: Driver + 'static,
    {
        let count = devices.len();
        if !(1..=64).contains(&count) {
            let message = format!("{count} shards: there can be 1 to 64");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let limits = divided(&config.limits, count);
        let config = Config { limits, ..config };
        let (seed, clock) = (crate::host::seed()?, Clock::start());
        let mut shards = Vec::with_capacity(count);
        let mut threads = Vec::new();
        for (index, (device, lanes)) in devices.into_iter().zip(Lanes::of(count)).enumerate() {
            let config = Config {
                shard: anabranch_stack::Shard::new(index, count).unwrap_or_default(),
                ..config.clone()
            };
            let part = Part {
                seed,
                clock,
                lanes: (count > 1).then_some(lanes),
            };
            if index == 0 {
                shards.push(Shard {
                    host: Host::start_part(device, config, part)?,
                    runtime: Handle::current(),
                });
            } else {
                let (shard, thread) = start_thread(index, device, config, part)?;
                shards.push(shard);
                threads.push(thread);
            }
        }
        Ok(Shards {
            shards: shards.into(),
            _threads: threads.into(),
        })
    }

    /// Each shard.
    pub fn iter(&self) -> std::slice::Iter<'_, Shard> {
        self.shards.iter()
    }

    /// Accepts connections from now on, those of each shard with a listener of its own, in the
    /// order of [`Shards::iter`].
    ///
    /// # Errors
    /// Those of [`Host::listen`]; no shard listens then.
    pub fn listen(&self, config: &ListenConfig) -> io::Result<Vec<Listener>> {
        self.iter()
            .map(|shard| shard.listen(config.clone()))
            .collect()
    }

    /// Gives the host ICMP errors that do not come by its devices, until it ends.
    ///
    /// # Errors
    /// Those of [`Host::hear`].
    pub fn hear(&self, errors: IcmpErrors) -> io::Result<()> {
        // It passes on what is not its own.
        self.shards[0].hear(errors)
    }

    /// Every connection as it is now, half-open and closing ones included.
    pub fn connections(&self) -> Vec<FlowInfo> {
        self.iter().flat_map(|shard| shard.connections()).collect()
    }

    /// The time that [`FlowInfo`] counts in.
    pub fn now(&self) -> Instant {
        self.shards[0].now()
    }

    /// What all stacks together have counted since the start, by name.
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        let mut sums: BTreeMap<_, u64> = Counter::ALL.iter().map(|c| (c.name(), 0)).collect();
        for (name, value) in self.iter().flat_map(|shard| {
            let counters = shard.counters();
            counters.iter().collect::<Vec<_>>()
        }) {
            *sums.entry(name).or_default() += value;
        }
        sums
    }

    /// Bytes that the buffers of all connections hold now.
    pub fn memory(&self) -> usize {
        self.iter().map(|shard| shard.memory()).sum()
    }

    /// As [`Host::shutdown`], all shards at once.
    pub async fn shutdown(&self, limit: impl Future<Output = ()>) -> bool {
        let hosts: Vec<&Host> = self.iter().map(|shard| &shard.host).collect();
        shut_down(&hosts, limit).await
    }

    /// Waits until a shard has ended, and says why: see [`Host::closed`].
    pub async fn closed(&self) -> io::Error {
        let mut all: Vec<Pin<Box<_>>> = self.iter().map(|it| Box::pin(it.closed())).collect();
        poll_fn(|cx| {
            let ended = all.iter_mut().find_map(|it| match it.as_mut().poll(cx) {
                std::task::Poll::Ready(error) => Some(error),
                std::task::Poll::Pending => None,
            });
            ended.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
        })
        .await
    }
}

impl<'a> IntoIterator for &'a Shards {
    type Item = &'a Shard;
    type IntoIter = std::slice::Iter<'a, Shard>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A share of what holds for the whole host; what holds for a connection stays.
fn divided(limits: &Limits, count: usize) -> Limits {
    Limits {
        memory: limits.memory / count,
        flows: limits.flows.div_ceil(count),
        time_wait: limits.time_wait.div_ceil(count),
        ..limits.clone()
    }
}

/// Starts a shard on a thread of its own, which goes on until the sender is dropped and the shard's
/// host has ended.
fn start_thread<D>(
    index: usize,
    device: D,
    config: Config,
    part: Part,
) -> io::Result<(Shard, oneshot::Sender<()>)>
where
    D: Driver + 'static,
{
    let (started, start) = mpsc::channel();
    let (thread, dropped) = oneshot::channel::<()>();
    let run = move || {
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error))),
        };
        runtime.block_on(async {
            let host = match Host::start_part(device, config, part) {
                Ok(host) => host,
                Err(error) => return drop(started.send(Err(error))),
            };
            let ended = host.ended_without_handle();
            let runtime = Handle::current();
            drop(started.send(Ok(Shard { host, runtime })));
            // An error is that it was dropped.
            let _ = dropped.await;
            ended.await;
        });
        // A name look-up may still run in a thread of its own; nobody waits for its answer.
        runtime.shutdown_background();
    };
    thread::Builder::new()
        .name(format!("shard {index}"))
        .spawn(run)?;
    let lost = || io::Error::other("a thread ended before its shard had started");
    let shard = start.recv().map_err(|_| lost())??;
    Ok((shard, thread))
}
