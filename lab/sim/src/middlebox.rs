//! Middleboxes: what networks do to segments and to options they do not know.
//!
//! What exists is known from measurements: Honda et al., "Is it still possible to extend TCP?" (IMC
//! 2011); Hesmans et al., "Are TCP extensions middlebox-proof?" (HotMiddlebox 2013); Detal et al.,
//! "Revealing middlebox interference with tracebox" (IMC 2013).

mod alter;
mod clamp;
mod echo;
mod filter;
mod forget;
mod gate;
mod in_order;
mod keepalive;
mod merge;
mod narrow;
mod nat;
mod readdress;
mod reject;
mod renumber;
mod respool;
mod restamp;
mod shuffle;
mod split;
mod strip;
mod thin;

pub use alter::Alter;
pub use clamp::Clamp;
pub use echo::Echo;
pub use filter::Filter;
pub use forget::Forget;
pub use gate::Gate;
pub use in_order::InOrder;
pub use keepalive::Keepalive;
pub use merge::Merge;
pub use narrow::Narrow;
pub use nat::Nat;
pub use readdress::Readdress;
pub use reject::{Reject, Tell};
pub use renumber::Renumber;
pub use respool::Respool;
pub use restamp::Restamp;
pub use shuffle::Shuffle;
pub use split::{Keep, Split};
pub use strip::{Sighting, Strip};
pub use thin::Thin;
