//! Handles to what a [`crate::Stack`] holds.

use std::fmt;
use std::str::FromStr;

/// A connection, plain TCP or Multipath TCP. A handle outlives its connection harmlessly: the
/// generation tells a later connection in the same slot apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FlowId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// A listener.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ListenerId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// A subflow of one connection, in order of creation; the initial one is 0. Plain TCP has only 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct SubflowId(pub u32);

impl FlowId {
    /// A number that is unique among all connections this stack ever held (until 2³² of them).
    pub fn as_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }
}

/// What is no [`FlowId`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoFlowId;

impl fmt::Display for NoFlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the ID of a connection")
    }
}

impl std::error::Error for NoFlowId {}

/// As it is displayed.
impl FromStr for FlowId {
    type Err = NoFlowId;

    fn from_str(text: &str) -> Result<FlowId, NoFlowId> {
        let (index, generation) = text.split_once('.').ok_or(NoFlowId)?;
        Ok(FlowId {
            index: index.parse().map_err(|_| NoFlowId)?,
            generation: generation.parse().map_err(|_| NoFlowId)?,
        })
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

impl fmt::Display for SubflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
