//! The commands, run as processes.
