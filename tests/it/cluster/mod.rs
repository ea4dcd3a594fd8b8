//! A shop of several servers, in processes of their own, over the real MySQL and Redis Cluster: sales,
//! retries on other servers, servers that die or stand still, services that go away.

mod buyers;
mod outages;
mod retries;
mod sale;
mod servers;
