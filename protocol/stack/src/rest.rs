//! Idle connections take little memory: see [`anabranch_tcp::rest`].
//!
//! What has been idle for [`AFTER`] is written down when its timer says so, and is whole again with
//! the first call that wants it so, or packet. Looking on does not wake it.

use crate::demux::Tuple;
use crate::flow::{Flow, Plain};
use crate::held::{Held, hold};
use crate::multi::{Multi, RestingMulti};
use crate::paths::Managed;
use anabranch_mptcp::SubflowId;
use anabranch_mptcp::schedule::Log;
use anabranch_tcp::rest::Parcel;
use anabranch_tcp::{Instant, Stream, StreamConfig, Tcb, packed};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// How long nothing comes or goes before a connection rests. Long enough that resting, which takes
/// a few microseconds there and back, is rare.
pub(crate) const AFTER: Duration = Duration::from_secs(1);

/// A connection in its slot, at work or at rest.
pub(crate) struct Body(State);

enum State {
    Awake(Flow),
    Tcp(RestingPlain),
    Mptcp(Held<RestingMulti>),
}

struct RestingPlain {
    settings: Arc<StreamConfig>,
    packed: Box<[u8]>,
    at_end: bool,
}

/// A connection to look at: where it rests, a copy of what it was.
pub(crate) enum Look<'a> {
    Here(&'a Flow),
    Copy(Flow),
}

impl Deref for Look<'_> {
    type Target = Flow;

    fn deref(&self) -> &Flow {
        match self {
            Look::Here(flow) => flow,
            Look::Copy(flow) => flow,
        }
    }
}

/// The control block of a connection, to look at.
pub struct TcbRef<'a>(Look<'a>);

impl<'a> TcbRef<'a> {
    /// That of the initial subflow, unless it is gone.
    pub(crate) fn of(look: Look<'a>) -> Option<TcbRef<'a>> {
        first(&look)?;
        Some(TcbRef(look))
    }
}

impl Deref for TcbRef<'_> {
    type Target = Tcb;

    fn deref(&self) -> &Tcb {
        first(&self.0).expect("it was there when this was made")
    }
}

fn first(flow: &Flow) -> Option<&Tcb> {
    match flow {
        Flow::Tcp(plain) => Some(plain.stream.tcb()),
        Flow::Mptcp(multi) => multi.connection.tcb(SubflowId(0)),
    }
}

packed!(Plain { stream, tuple });

impl RestingPlain {
    fn of(plain: &mut Plain, settings: &Arc<StreamConfig>) -> Option<RestingPlain> {
        Some(RestingPlain {
            settings: settings.clone(),
            packed: Parcel::fill(plain, &settings.tcp)?,
            at_end: plain.stream.at_end(),
        })
    }

    fn look(&self) -> Plain {
        let mut plain = Plain {
            stream: Stream::fresh(&self.settings),
            tuple: Tuple::nowhere(),
        };
        Parcel::empty(&self.packed, &self.settings.tcp, &mut plain);
        plain
    }
}

impl Body {
    pub(crate) fn new(flow: Flow) -> Body {
        Body(State::Awake(flow))
    }

    /// The connection, awake.
    pub(crate) fn flow(&mut self) -> &mut Flow {
        if self.resting().is_some()
            && let Some(flow) = self.wake()
        {
            self.0 = State::Awake(flow);
        }
        match &mut self.0 {
            State::Awake(flow) => flow,
            _ => unreachable!("it was woken"),
        }
    }

    /// Apart from what each packet goes through.
    #[cold]
    #[inline(never)]
    fn wake(&mut self) -> Option<Flow> {
        match &mut self.0 {
            State::Awake(_) => None,
            State::Tcp(plain) => Some(Flow::Tcp(Box::new(plain.look()))),
            State::Mptcp(multi) => Some(Flow::Mptcp(hold(multi.wake()))),
        }
    }

    /// Where it rests: whether everything up to the peer's end was read. Nothing else can be.
    pub(crate) fn resting(&self) -> Option<bool> {
        match &self.0 {
            State::Awake(_) => None,
            State::Tcp(plain) => Some(plain.at_end),
            State::Mptcp(multi) => Some(multi.at_end),
        }
    }

    /// What decides which subflows it has, if we do: it does not rest.
    pub(crate) fn managed(&mut self) -> Option<&mut Managed> {
        match &mut self.0 {
            State::Awake(Flow::Mptcp(multi)) => multi.paths.as_deref_mut(),
            State::Mptcp(multi) => multi.paths.as_deref_mut(),
            _ => None,
        }
    }

    /// The same, to look at.
    pub(crate) fn policy(&self) -> Option<&Managed> {
        match &self.0 {
            State::Awake(Flow::Mptcp(multi)) => multi.paths.as_deref(),
            State::Mptcp(multi) => multi.paths.as_deref(),
            _ => None,
        }
    }

    /// What its scheduler decided, if that is kept.
    pub(crate) fn decision_log(&self) -> Option<&Log> {
        match &self.0 {
            State::Awake(Flow::Mptcp(multi)) => multi.connection.decision_log(),
            State::Mptcp(multi) => multi.connection.decision_log(),
            _ => None,
        }
    }

    pub(crate) fn look(&self) -> Look<'_> {
        match &self.0 {
            State::Awake(flow) => Look::Here(flow),
            State::Tcp(plain) => Look::Copy(Flow::Tcp(Box::new(plain.look()))),
            State::Mptcp(multi) => Look::Copy(Flow::Mptcp(hold(multi.look()))),
        }
    }

    /// When it may rest, if nothing happens before; `None`: something is under way, or it rests.
    pub(crate) fn rests_at(&self) -> Option<Instant> {
        let since = match &self.0 {
            State::Awake(Flow::Tcp(plain)) => plain.stream.idle_since(),
            State::Awake(Flow::Mptcp(multi)) => multi.connection.idle_since(),
            _ => None,
        };
        since.map(|since| since + AFTER)
    }

    /// Lets it rest, if it can, and tells whether it does.
    #[cold]
    #[inline(never)]
    pub(crate) fn rest(&mut self, settings: &Arc<StreamConfig>) -> bool {
        let resting = match &mut self.0 {
            State::Awake(Flow::Tcp(plain)) => RestingPlain::of(plain, settings).map(State::Tcp),
            State::Awake(Flow::Mptcp(multi)) => {
                Multi::rest(multi).map(|multi| State::Mptcp(hold(multi)))
            }
            _ => None,
        };
        let Some(resting) = resting else {
            return false;
        };
        let before = std::mem::replace(&mut self.0, resting);
        debug_assert!(self.is_as(&before), "it is not as it was");
        true
    }

    /// Whether what was written down is what there was, to the last field.
    fn is_as(&self, before: &State) -> bool {
        let (State::Awake(before), now) = (before, self.look()) else {
            return true;
        };
        match (before, &*now) {
            (Flow::Tcp(a), Flow::Tcp(b)) => same(&a.stream, &b.stream) && a.tuple == b.tuple,
            (Flow::Mptcp(a), Flow::Mptcp(b)) => same(&a.connection, &b.connection),
            _ => false,
        }
    }
}

fn same(a: &impl std::fmt::Debug, b: &impl std::fmt::Debug) -> bool {
    format!("{a:?}") == format!("{b:?}")
}
