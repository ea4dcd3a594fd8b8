//! The pages that people see, without scripts.

mod administration;
mod hostile;
mod shopping;
