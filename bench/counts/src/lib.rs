//! What the stack's hot paths cost, in instructions and allocations, and the world they run in:
//! two hosts in memory, in virtual time, the same at each run.

pub mod paths;
pub mod world;
