//! A shop of several servers, in processes of their own, over the real MySQL and Redis Cluster: sales,
//! retries on other servers, servers that die or stand still, services that go away.

mod administration;
mod buyers;
mod connections;
mod doctor;
mod doctor_outages;
mod event_commands;
mod event_outages;
mod outages;
mod replay;
mod retries;
mod sale;
mod servers;
mod waiting;
