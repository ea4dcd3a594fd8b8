//! The load generator behind `holdfast bench` and `holdfast replay`; `holdfast drill` uses its client.
//!
//! It shares a machine with the server it measures more often than not, so it is built to stay out of the way: each
//! connection is one task with its own buffers and histograms, and a request in the steady state costs one write, one
//! read and no allocation.
//!
//! [`run`](run()) sends what one [`RequestSource`] a connection makes, at a [`Pace`], and gives a [`Report`].
//! [`Connection`] alone serves whoever needs a request and its answer without statistics.
//! [`floor`] tells how much of a figure is the HTTP stack and the machine.

mod answer;
mod client;
pub mod floor;
mod report;
mod run;
mod tls;

pub use answer::{Answer, Kind};
pub use client::{Connection, RESPONSE_BYTES_MAX, Request, RequestHead, Response, Target, TargetError};
pub use report::{AnswerReport, Latency, Report};
pub use run::{Pace, Plan, RequestSource, RunError, Until, run};
pub use tls::{TlsError, Trust};
