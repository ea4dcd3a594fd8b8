//! The pages that people see, without scripts.

mod hostile;
mod shopping;
