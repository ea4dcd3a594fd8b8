//! The outside of the shop: one folder for each kind of thing that a port is implemented with.

pub mod gateway;
pub mod https;
pub mod kafka;
pub mod memory;
pub mod mysql;
pub mod redis;
pub mod smtp;
pub mod sqlite;
pub mod webhook_sender;
