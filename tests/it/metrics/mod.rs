//! What servers show Prometheus: nothing that is not in the table of metrics, and nothing that is not so.

mod cluster;
mod embedded;
mod table;
