//! The commands, run as their users run them: in processes of their own.

mod bad_input;
mod catalogue;
mod commands;
mod dashboard;
mod disks;
mod doctor;
mod drill;
mod events;
mod gateway;
mod logs;
pub mod replay;
mod secrets;
