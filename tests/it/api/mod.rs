//! The HTTP API, asked by a client of its own over real connections.

mod accounts;
mod administration;
mod bad_accounts;
mod bad_administration;
mod bad_orders;
mod bad_requests;
mod bad_tokens;
mod description;
mod gateway;
mod hang_ups;
mod limits;
mod live;
mod orders;
mod payments;
mod products;
mod sale;
mod stripe;
mod waiting;
mod webhooks;
