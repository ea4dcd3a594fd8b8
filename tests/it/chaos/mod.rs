//! Processes that die, disks that fill up and signals in the middle of a sale; afterwards the books
//! have to be right, by the audit and by a look of the test's own.

pub mod books;
mod gateway;
mod kill;
pub mod load;
mod overload;
mod signals;
