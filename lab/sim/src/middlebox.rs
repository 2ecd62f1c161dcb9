//! Middleboxes: what networks do to segments and to options they do not know.

mod narrow;
mod rewrite;
mod split;
mod strip;

pub use narrow::Narrow;
pub use rewrite::{Nat, Renumber};
pub use split::{Keep, Split};
pub use strip::{Filter, Sighting, Strip};
