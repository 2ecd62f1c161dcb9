//! What is asked for of paths, for either engine: the file that says it, the commands that change
//! it while an engine runs, and our own engine.

pub mod check;
pub mod commands;
pub(crate) mod edit;
pub mod file;
mod news;
pub mod own;
mod units;
mod words;
pub(crate) mod world;

pub use file::{Wanted, load};
pub use own::Own;
