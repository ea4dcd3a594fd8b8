//! Holdfast: the server for selling things that run out.
//!
//! A map, in the order in which a purchase travels:
//!
//! * [`http`] takes the request, checks it once, and turns every answer into JSON; [`rate_limit`] says who may ask for
//!   more;
//! * [`saga`] drives the purchase through its four steps, in batches, and back when one fails;
//! * [`domain`] says what a purchase, an order and a saga are, as plain data;
//! * [`ports`] says what the shop needs from outside, and [`adapters`] are what it gets;
//! * [`catalog`] is the read path, [`live`] what open pages are told, [`dashboard`] what administrators see of a sale,
//!   [`worker`] what runs in the background, [`consumers`] are those who make something of what happened;
//! * [`app`] wires all of it together from a [`config`];
//! * [`csv_input`] reads the files that `import` and `replay` take, [`load`] sends requests for
//!   `replay` and `bench`;
//! * [`audit`] proves afterwards that nothing was lost, sold twice or charged wrongly;
//! * [`doctor`] finds what is wrong with the machine, the settings and the stores;
//! * [`drill`] breaks a shop on purpose and holds what customers were promised against its stores;
//! * [`cli`] holds one command a file.

#![forbid(unsafe_code)]

pub mod adapters;
pub mod app;
pub mod audit;
pub mod auth;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod consumers;
pub mod csv_input;
pub mod dashboard;
pub mod data_dir;
pub mod doctor;
pub mod domain;
pub mod drill;
pub mod http;
pub mod live;
pub mod load;
pub mod ports;
pub mod rate_limit;
pub mod saga;
pub mod shutdown;
pub mod stock_room;
pub mod telemetry;
pub mod worker;
