//! Tables of what happens and what is done about it.

mod common;
mod endpoints;
mod handover;
mod hostile;
mod hosts;
mod kinds;
mod managed;
mod table;
