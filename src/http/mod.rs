//! The web side: every request comes in here and is checked once.
//!
//! [`router`] has every route in one place, [`api`] one file an operation, [`problem`] every
//! error that can be answered, [`extract`] what a handler may ask of a request, [`server`] the
//! connections, [`rate_limit`] who may ask for more, [`measure`] how long each route takes, [`follow`] what is known of a
//! request, [`web`] the pages that people see. [`gateway`] is another server: the simulated payment gateway.

pub mod api;
mod asyncapi;
pub mod extract;
mod follow;
pub mod gateway;
pub mod measure;
pub mod openapi;
pub mod problem;
pub mod rate_limit;
pub mod router;
pub mod server;
pub mod web;

use std::sync::Arc;

use crate::app::App;

/// What every handler is given.
pub type Shop = Arc<App>;
