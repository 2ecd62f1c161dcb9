//! A host: a stack and the applications on it.

use crate::app::{App, Plan, Progress};
use crate::network::Node;
use crate::offload::{Coalescer, split};
use anabranch_stack::{
    Config, ConnectConfig, ConnectError, Event, FlowId, Instant, ListenConfig, ListenError,
    ListenerId, Stack,
};
use anabranch_wire::frame::Frame;
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// A stack, its applications, and a packet device.
pub struct Host {
    /// The stack, to look at. Whoever acts on it between runs of the network must not take
    /// events or packets.
    pub stack: Stack,
    listeners: Vec<(ListenerId, Plan)>,
    apps: Vec<App>,
    coalescer: Option<Coalescer>,
    /// Wire packets of a super-frame being sent.
    out: VecDeque<Bytes>,
}

impl Host {
    /// A host without listeners and connections. `coalesce`: merge received packets of one flow
    /// that arrive within this time into super-frames; `None` takes each for itself.
    pub fn new(config: Config, seed: u64, coalesce: Option<Duration>, now: Instant) -> Host {
        let mut bytes = [0; 32];
        for (n, chunk) in bytes.chunks_mut(8).enumerate() {
            let word = crate::rng::mix(seed.wrapping_add(n as u64));
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        Host {
            stack: Stack::new(config, bytes, now),
            listeners: Vec::new(),
            apps: Vec::new(),
            coalescer: coalesce.map(Coalescer::new),
            out: VecDeque::new(),
        }
    }

    /// Serves `plan` to whoever connects.
    ///
    /// # Errors
    /// Those of [`Stack::listen`].
    pub fn serve(&mut self, listen: ListenConfig, plan: Plan) -> Result<ListenerId, ListenError> {
        let id = self.stack.listen(listen)?;
        self.listeners.push((id, plan));
        Ok(id)
    }

    /// Connects and follows `plan`; returns the number of the application.
    ///
    /// # Errors
    /// Those of [`Stack::connect`].
    pub fn connect(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        config: ConnectConfig,
        plan: Plan,
    ) -> Result<usize, ConnectError> {
        let flow = self.stack.connect(now, local, remote, config)?;
        self.apps.push(App::new(flow, plan));
        Ok(self.apps.len() - 1)
    }

    /// How far each application has come, in order of creation.
    pub fn progress(&self) -> impl Iterator<Item = &Progress> {
        self.apps.iter().map(|app| &app.progress)
    }

    /// The connection of application number `n`.
    pub fn flow(&self, n: usize) -> Option<FlowId> {
        self.apps.get(n).map(|app| app.flow)
    }

    /// Whether every application is through, or has found a wrong byte.
    pub fn is_done(&self) -> bool {
        let through = |app: &App| app.is_done() || app.progress.wrong.is_some();
        self.apps.iter().all(through)
    }

    /// Lets events and applications act until none has anything to do.
    fn settle(&mut self, now: Instant) {
        loop {
            let mut awake = false;
            while let Some(event) = self.stack.poll_event() {
                awake = true;
                self.on_event(now, event);
            }
            awake |= self
                .apps
                .iter()
                .any(|a| a.wake().is_some_and(|at| at <= now));
            if !awake {
                return;
            }
            for app in &mut self.apps {
                app.run(now, &mut self.stack);
            }
        }
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Accepted(id) => self.accept(now, id),
            Event::Established(flow) => self.app(flow, |app| app.established(now)),
            Event::Readable(flow) | Event::PeerFin(flow) => self.app(flow, App::readable),
            Event::Writable(flow) => self.app(flow, App::writable),
            Event::Closed(flow, reason) => self.app(flow, |app| app.closed(now, reason)),
            Event::Path(flow, path) => self.app(flow, |app| app.path(now, path)),
        }
    }

    fn accept(&mut self, now: Instant, id: ListenerId) {
        let Some((_, plan)) = self.listeners.iter().find(|(l, _)| *l == id) else {
            return;
        };
        while let Some(flow) = self.stack.accept(id) {
            let mut app = App::new(flow, plan.clone());
            app.established(now);
            self.apps.push(app);
        }
    }

    fn app(&mut self, flow: FlowId, f: impl FnOnce(&mut App)) {
        if let Some(app) = self.apps.iter_mut().find(|app| app.flow == flow) {
            f(app);
        }
    }

    fn flush(&mut self, now: Instant) {
        if let Some(coalescer) = &mut self.coalescer {
            for frame in coalescer.take() {
                self.stack.receive(now, frame);
            }
        }
    }
}

impl Node for Host {
    fn receive(&mut self, now: Instant, packet: Bytes) {
        match &mut self.coalescer {
            Some(coalescer) => coalescer.push(now, packet),
            None => self.stack.receive(
                now,
                Frame {
                    data: packet,
                    checksum_ok: false,
                    gso_size: 0,
                },
            ),
        }
    }

    fn transmit(&mut self, now: Instant) -> Option<Bytes> {
        loop {
            if let Some(packet) = self.out.pop_front() {
                return Some(packet);
            }
            self.settle(now);
            let transmit = self.stack.poll_transmit(now)?;
            self.out.extend(split(&transmit));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let apps = self.apps.iter().filter_map(App::wake);
        let coalescer = self.coalescer.as_ref().and_then(Coalescer::deadline);
        apps.chain(coalescer).chain(self.stack.deadline()).min()
    }

    fn on_deadline(&mut self, now: Instant) {
        if self
            .coalescer
            .as_ref()
            .and_then(Coalescer::deadline)
            .is_some_and(|at| at <= now)
        {
            self.flush(now);
        }
        if self.stack.deadline().is_some_and(|at| at <= now) {
            self.stack.on_deadline(now);
        }
    }
}
