//! The settings of nginx that containers and the lab use, in a real nginx on loopback.

mod away;
mod front;
pub mod nginx;
