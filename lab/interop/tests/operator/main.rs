//! What an operator does with the paths of our own stack while connections live: files, reloads and
//! commands, and what their peer, Linux, sees of it.

mod client;
mod monitor;
mod reload;
mod server;
mod world;
mod wrong;
