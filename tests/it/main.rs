//! Everything that is tested from outside the library, in one binary. One folder a kind of test.

mod api;
mod balancer;
mod chaos;
mod chromium;
mod cli;
mod cluster;
mod contract;
mod events;
mod metrics;
mod pages;
mod prometheus;
mod readme;
mod saga;
mod support;
mod tidy;
