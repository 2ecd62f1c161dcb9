//! Path management of a whole host: its plan, and word of what happens to paths.

use crate::host::Host;
use crate::paths::Paths;
use anabranch_stack::policy::{self, Command, Plan};
use anabranch_stack::{CloseReason, FlowId, FlowInfo, Instant, PathConfig, PathEvent, Rule, Stack};
use std::net::SocketAddr;
use tokio::sync::broadcast::{Receiver, Sender, channel};

/// News kept for who is slow to read them; beyond, the oldest are lost, and the reader is told.
const MAX_NEWS: usize = 1024;

/// Something happened to a connection.
#[derive(Clone, Debug)]
pub struct News {
    /// Which.
    pub flow: FlowId,
    /// When.
    pub at: Instant,
    /// What.
    pub change: Change,
    /// The connection right after that, if there still is something to see of it.
    pub info: Option<Box<FlowInfo>>,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// It was accepted, or its own attempt was answered.
    Established,
    /// It ended.
    Closed(CloseReason),
    /// Something about its paths.
    Path(PathEvent),
}

/// Whoever reads the news of a host.
#[derive(Default)]
pub(crate) struct Readers(Option<Sender<News>>);

impl Readers {
    fn subscribe(&mut self) -> Receiver<News> {
        let sender = self.0.get_or_insert_with(|| channel(MAX_NEWS).0);
        sender.subscribe()
    }

    /// Tells everyone, and looks at the connection only if there is anyone.
    pub(crate) fn tell(&mut self, stack: &Stack, at: Instant, flow: FlowId, change: Change) {
        let Some(sender) = &self.0 else {
            return;
        };
        if sender.receiver_count() == 0 {
            self.0 = None;
            return;
        }
        let info = stack.info(flow).map(Box::new);
        let news = News {
            flow,
            at,
            change,
            info,
        };
        // The last reader may have gone just now.
        let _ = sender.send(news);
    }
}

impl Host {
    /// Word of what happens to connections and their paths, from now on.
    pub fn news(&self) -> Receiver<News> {
        self.shared.lock().readers.subscribe()
    }

    /// The plan in force.
    pub fn plan(&self) -> Option<Plan> {
        self.shared.lock().stack.plan().cloned()
    }

    /// Puts a plan in force, see [`Stack::set_plan`].
    pub fn set_plan(&self, plan: Plan) {
        self.act(|stack, now| stack.set_plan(now, plan));
    }

    /// Puts rules in force for connections to come, see [`anabranch_stack::Config::rules`]; those
    /// there are keep what they have.
    pub fn set_rules(&self, rules: Vec<Rule>) {
        self.act(|stack, _| stack.reconfigure(|config| config.rules = rules));
    }

    /// Changes what the plan knows of this host, see [`Stack::change_host`].
    pub fn change_host(&self, change: impl FnOnce(&mut policy::Host) -> bool) {
        self.act(|stack, now| stack.change_host(now, change));
    }

    /// What the plan knows of this host.
    pub fn with_known<T>(&self, look: impl FnOnce(&policy::Host) -> T) -> T {
        look(self.shared.lock().stack.host())
    }

    /// The addresses and the policy that the plan has for a connection to `remote`.
    pub fn planned(&self, remote: SocketAddr) -> Option<PathConfig> {
        self.shared.lock().stack.planned(remote)
    }

    /// What a plan would do with the connections there are, see [`Stack::preview`].
    pub fn preview(&self, plan: &Plan) -> Vec<(FlowId, Vec<Command>)> {
        let inner = self.shared.lock();
        inner.stack.preview(inner.now(), plan)
    }

    /// The paths of a connection, for an operator: [`Paths::next`] tells nothing, which is for its
    /// application.
    pub fn paths(&self, flow: FlowId) -> Paths {
        Paths::of(self.shared.clone(), flow)
    }

    fn act(&self, change: impl FnOnce(&mut Stack, Instant)) {
        let mut inner = self.shared.lock();
        let now = inner.now();
        change(&mut inner.stack, now);
        inner.wake_driver();
    }
}
