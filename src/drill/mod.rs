//! Drills: customers buy and look while a schedule of faults is carried out, everything that was asked and answered is
//! written down, and afterwards the stores are held against what the shop had promised.
//!
//! * [`faults`] says what is broken and mended, and when;
//! * [`customers`] behave as real ones do: they try again with the same key until they know;
//! * [`history`] is the file of what happened, which is all that is known afterwards;
//! * [`figures`] makes the table of it;
//! * [`check`] holds it against the stores, at once or later (`holdfast audit --history`).

pub mod check;
pub mod customers;
pub mod faults;
pub mod figures;
pub mod history;

use std::time::Duration;

/// A time of a drill in whole microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
