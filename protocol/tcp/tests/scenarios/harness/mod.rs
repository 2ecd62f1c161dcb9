//! Two ways to exercise the engine in virtual time: against a script, and against itself.

pub(crate) mod pair;
pub(crate) mod rng;
pub(crate) mod script;
