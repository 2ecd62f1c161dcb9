//! The engine at work, and what it has changed: shared by what the kernel tells and what people ask.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anabranch_kernel::mptcp::Event;
use anabranch_paths::Plan;
use tokio::sync::mpsc;

use super::account::Account;
use super::args::{Mode, PmArgs};
use super::connections::Connections;
use super::control::told;
use super::endpoints::Endpoints;
use crate::cli::Failure;
use crate::control::{Answer, PathNews, Request};
use crate::paths::{Wanted, check, edit, file};

/// News that wait for a slow reader; further ones are lost to it.
const MAX_WAITING: usize = 256;

/// All there is to a path manager.
pub(super) struct State {
    engine: Engine,
    account: Account,
    /// The file that says what is wanted.
    file: Option<PathBuf>,
    plan: Plan,
    readers: Vec<mpsc::Sender<PathNews>>,
}

/// What is steered.
enum Engine {
    Kernel(Box<Endpoints>),
    Userspace(Box<Connections>),
}

/// Locks; only one thread ever does, so nobody waits.
pub(super) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Ready to begin; nothing is changed yet.
    pub(super) fn start(
        args: &PmArgs,
        plan: Plan,
        account: Account,
    ) -> Result<Arc<Mutex<State>>, Failure> {
        let mut account = account;
        let engine = match args.mode {
            Mode::Kernel => Endpoints::new(plan.clone()).map(|it| Engine::Kernel(Box::new(it))),
            Mode::Userspace => {
                Connections::new(plan.clone()).map(|it| Engine::Userspace(Box::new(it)))
            }
        };
        let engine = engine.inspect_err(|_| account.close())?;
        Ok(Arc::new(Mutex::new(State {
            engine,
            account,
            file: args.config.clone(),
            plan,
            readers: Vec::new(),
        })))
    }

    /// Takes what is to be managed, and does what is to be done with what there is.
    ///
    /// # Errors
    /// One line.
    pub(super) fn begin(&mut self) -> Result<(), String> {
        match &mut self.engine {
            Engine::Kernel(endpoints) => endpoints.follow(&mut self.account),
            Engine::Userspace(connections) => {
                connections.follow()?;
                self.account.take_connections()?;
                connections.resync()
            }
        }
    }

    pub(super) fn describe(&self) -> String {
        match &self.engine {
            Engine::Kernel(_) => "the kernel's endpoints follow addresses and interfaces".into(),
            Engine::Userspace(connections) => format!(
                "new connections are managed, and {} that are there",
                connections.count()
            ),
        }
    }

    /// Puts everything back.
    pub(super) fn close(&mut self) {
        self.account.close();
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.engine {
            Engine::Kernel(endpoints) => endpoints.deadline(),
            Engine::Userspace(connections) => connections.deadline(),
        }
    }

    pub(super) fn on_deadline(&mut self) -> Result<(), String> {
        match &mut self.engine {
            Engine::Kernel(endpoints) => endpoints.on_deadline(&mut self.account),
            Engine::Userspace(connections) => connections.on_deadline(),
        }
    }

    /// The host changed.
    pub(super) fn follow(&mut self) -> Result<(), String> {
        match &mut self.engine {
            Engine::Kernel(endpoints) => endpoints.follow(&mut self.account),
            Engine::Userspace(connections) => connections.follow(),
        }
    }

    /// The kernel told something.
    pub(super) fn on_event(&mut self, event: Event) -> Result<(), String> {
        tracing::debug!("told: {event:?}");
        let news = told(&event);
        // Who does not read in time misses some; who has gone is forgotten.
        self.readers.retain(|reader| {
            let sent = reader.try_send(news.clone());
            !matches!(sent, Err(mpsc::error::TrySendError::Closed(_)))
        });
        match &mut self.engine {
            Engine::Kernel(endpoints) => {
                endpoints.on_event(&event);
                Ok(())
            }
            Engine::Userspace(connections) => connections.on_event(event),
        }
    }

    /// What happens from now on.
    pub(super) fn news(&mut self) -> mpsc::Receiver<PathNews> {
        let (sender, news) = mpsc::channel(MAX_WAITING);
        self.readers.push(sender);
        news
    }

    /// Reads the file again; says what it comes to.
    ///
    /// # Errors
    /// One line; what was in force stays.
    pub(super) fn reload(&mut self) -> Result<String, String> {
        let path = self.file.clone().ok_or(
            "there is no file to read again: name one with --config when the program is started",
        )?;
        let wanted = file::load(&path)?;
        let says = format!("{}: {}", path.display(), check::describe(&wanted));
        self.put_in_force(for_the_kernel(wanted))?;
        Ok(says)
    }

    fn put_in_force(&mut self, plan: Plan) -> Result<(), String> {
        match &mut self.engine {
            Engine::Kernel(endpoints) => endpoints.set_plan(plan.clone(), &mut self.account)?,
            Engine::Userspace(connections) => connections.set_plan(plan.clone()),
        }
        self.plan = plan;
        Ok(())
    }

    /// Does, or tells, what is asked.
    ///
    /// # Errors
    /// One line.
    pub(super) fn request(&mut self, request: &Request) -> Result<Vec<Answer>, String> {
        if let Some(edited) = edit::edit(&self.plan, request) {
            let (plan, answers) = edited?;
            self.put_in_force(plan)?;
            return Ok(answers);
        }
        match request {
            Request::Endpoints => self.endpoints(),
            Request::Limits => Ok(vec![Answer::Limits(edit::limits(&self.plan))]),
            Request::Reload => Ok(vec![Answer::Done(self.reload()?)]),
            Request::Preview { text } => {
                let plan = file::parse(text);
                let wanted = plan.map_err(|(line, reason)| format!("line {line}: {reason}"))?;
                let plan = for_the_kernel(wanted);
                match &mut self.engine {
                    Engine::Kernel(_) => {
                        let lines = Endpoints::new(plan).map_err(|_| {
                            "endpoints cannot say this: it takes --mode userspace".to_owned()
                        });
                        let lines = lines?.preview()?;
                        Ok(lines.into_iter().map(Answer::Done).collect())
                    }
                    Engine::Userspace(connections) => Ok(connections.would(plan)),
                }
            }
            _ => match &mut self.engine {
                Engine::Userspace(connections) => connections.by_hand(request),
                Engine::Kernel(_) => Err(
                    "the kernel's own path manager decides about subflows: it takes --mode \
                     userspace"
                        .to_owned(),
                ),
            },
        }
    }

    fn endpoints(&self) -> Result<Vec<Answer>, String> {
        let configured = &self.plan.policy.endpoints;
        let there = match &self.engine {
            Engine::Kernel(endpoints) => endpoints.there()?,
            Engine::Userspace(connections) => connections.derived(),
        };
        let is_new = |e: &anabranch_paths::Endpoint| {
            let known = |c: &anabranch_paths::Endpoint| c.addr == e.addr && c.port == e.port;
            !configured.iter().any(known)
        };
        let derived = there.into_iter().filter(is_new);
        let derived = derived.map(|endpoint| edit::shown(endpoint, true));
        let own = configured
            .iter()
            .map(|endpoint| edit::shown(endpoint.clone(), false));
        Ok(own.chain(derived).collect())
    }
}

/// What of a file the kernel can be told.
pub(super) fn for_the_kernel(wanted: Wanted) -> Plan {
    if !wanted.rules.is_empty() {
        tracing::warn!(
            "[[scheduling]] holds for connections of anabranch's own: the kernel has one scheduler \
             for all of its"
        );
    }
    wanted.plan
}
