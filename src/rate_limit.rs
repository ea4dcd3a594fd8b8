//! How much one account and one address may ask for. What servers share is told between them: each counts what others
//! have let in of whoever asks for a lot, so that asking two servers is worth no more than asking one.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;
use tokio::task::JoinHandle;

use crate::config;
use crate::domain::{InstanceId, UserId};
use crate::ports::live::{Asker, LiveUpdates, Usage};

/// Pause between two times of telling others what was let in.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Accounts and addresses that are told of at most: those that have asked for most.
const TOLD_MAX: usize = 200;

/// Accounts and addresses that are remembered between two such times; further ones are only counted here.
const SPENT_MAX: usize = 10_000;

/// Pause between two times of forgetting who has asked for nothing lately.
const FORGET_EVERY: u32 = 60;

/// Says who may ask for more.
pub struct RateLimits {
    accounts: Option<DefaultKeyedRateLimiter<UserId>>,
    addresses: Option<DefaultKeyedRateLimiter<IpAddr>>,
    trusted: Vec<IpNet>,
    clock: DefaultClock,
    /// `None` where there is only one server.
    shared: Option<Shared>,
}

struct Shared {
    server: InstanceId,
    live: Arc<dyn LiveUpdates>,
    spent: Mutex<HashMap<Asker, u32>>,
}

impl RateLimits {
    /// The limits that the configuration sets, shared with those who hear what `server` says over `live`.
    pub fn new(limits: &config::Limits, server: InstanceId, live: Option<Arc<dyn LiveUpdates>>) -> Self {
        Self {
            accounts: limiter(limits.account_purchases_per_s, limits.account_purchases_at_once),
            addresses: limiter(limits.address_requests_per_s, limits.address_requests_at_once),
            trusted: limits.trusted_proxies.clone(),
            clock: DefaultClock::default(),
            shared: live.map(|live| Shared { server, live, spent: Mutex::default() }),
        }
    }

    /// Starts telling the others, hearing them, and forgetting.
    pub fn start(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let mut tasks = vec![tokio::spawn(Arc::clone(self).keep_telling())];
        if let Some(shared) = &self.shared {
            let (limits, mut told) = (Arc::clone(self), shared.live.listen_to_usage());
            let server = shared.server;
            tasks.push(tokio::spawn(async move {
                while let Some(usage) = told.next().await {
                    // Its own comes back, too.
                    if usage.server != server {
                        usage.let_in.into_iter().for_each(|(asker, times)| limits.take_in(asker, times));
                    }
                }
            }));
        }
        tasks
    }

    /// Whether the account may buy once more.
    ///
    /// # Errors
    /// It may in so long.
    pub fn account(&self, user: UserId) -> Result<(), Duration> {
        let checked = self.check(self.accounts.as_ref(), &user);
        self.counted(checked, Asker::Account(user), "account")
    }

    /// Whether a client may ask once more. `forwarded_for` is what the peer says of whom it speaks for; it is believed
    /// where the peer is one of our own proxies. Requests of our own have no limit.
    ///
    /// # Errors
    /// It may in so long.
    pub fn address(&self, peer: IpAddr, forwarded_for: Option<&str>) -> Result<(), Duration> {
        let Some(client) = self.client(peer, forwarded_for) else { return Ok(()) };
        let checked = self.check(self.addresses.as_ref(), &client);
        self.counted(checked, Asker::Address(client), "address")
    }

    /// The address that is not ours and nearest to us; nothing where all are ours.
    fn client(&self, peer: IpAddr, forwarded_for: Option<&str>) -> Option<IpAddr> {
        let named = forwarded_for.unwrap_or_default().rsplit(',').map_while(|name| name.trim().parse().ok());
        let all = std::iter::once(peer).chain(named).map(|address: IpAddr| address.to_canonical());
        let mut foreign = all.filter(|address| !self.trusted.iter().any(|network| network.contains(address)));
        foreign.next().map(household)
    }

    fn check<K: Hash + Eq + Clone>(
        &self,
        limiter: Option<&DefaultKeyedRateLimiter<K>>,
        key: &K,
    ) -> Result<(), Duration> {
        let Some(limiter) = limiter else { return Ok(()) };
        limiter.check_key(key).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    fn counted(&self, checked: Result<(), Duration>, asker: Asker, by: &'static str) -> Result<(), Duration> {
        match checked {
            Ok(()) => {
                if let Some(shared) = &self.shared {
                    let mut spent = shared.spent.lock().unwrap_or_else(PoisonError::into_inner);
                    if spent.len() < SPENT_MAX || spent.contains_key(&asker) {
                        *spent.entry(asker).or_default() += 1;
                    }
                }
            }
            Err(_) => metrics::counter!("holdfast_http_rate_limited_total", "by" => by).increment(1),
        }
        checked
    }

    /// Counts what another server has let in.
    fn take_in(&self, asker: Asker, times: u32) {
        let is_full = |_| match asker {
            Asker::Account(user) => self.check(self.accounts.as_ref(), &user).is_err(),
            Asker::Address(address) => self.check(self.addresses.as_ref(), &address).is_err(),
        };
        // Who has nothing left has nothing left to lose.
        let _ = (0..times).any(is_full);
    }

    async fn keep_telling(self: Arc<Self>) {
        for turn in 1_u32.. {
            tokio::time::sleep(TELL_EVERY).await;
            if let Some(shared) = &self.shared {
                shared.tell().await;
            }
            if turn % FORGET_EVERY == 0 {
                forget(self.accounts.as_ref());
                forget(self.addresses.as_ref());
            }
        }
    }
}

impl Shared {
    async fn tell(&self) {
        let spent = std::mem::take(&mut *self.spent.lock().unwrap_or_else(PoisonError::into_inner));
        // Who has asked once cannot be asking everywhere.
        let mut let_in: Vec<_> = spent.into_iter().filter(|(_, times)| *times > 1).collect();
        if let_in.is_empty() {
            return;
        }
        let_in.sort_unstable_by_key(|(asker, times)| (std::cmp::Reverse(*times), *asker));
        let_in.truncate(TOLD_MAX);
        let usage = Usage { server: self.server, let_in };
        if let Err(error) = self.live.tell_usage(&usage).await {
            tracing::debug!(%error, "the other servers were not told who asks for a lot");
        }
    }
}

fn limiter<K: Hash + Eq + Clone>(per_s: u32, at_once: u32) -> Option<DefaultKeyedRateLimiter<K>> {
    let quota = Quota::per_second(NonZeroU32::new(per_s)?).allow_burst(NonZeroU32::new(at_once)?);
    Some(RateLimiter::keyed(quota))
}

/// Forgets those who have asked for nothing lately.
fn forget<K: Hash + Eq + Clone>(limiter: Option<&DefaultKeyedRateLimiter<K>>) {
    if let Some(limiter) = limiter {
        limiter.retain_recent();
        limiter.shrink_to_fit();
    }
}

/// One household has as many addresses of IPv6 as it likes, all of which begin alike.
fn household(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Flags};

    fn limits() -> RateLimits {
        let mut limits = Config::load(None, &Flags::default()).expect("the defaults are good").limits;
        (limits.address_requests_per_s, limits.address_requests_at_once) = (1, 3);
        (limits.account_purchases_per_s, limits.account_purchases_at_once) = (1, 2);
        RateLimits::new(&limits, InstanceId(uuid::Uuid::nil()), None)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_our_own_proxies_are_believed() {
        let limits = limits();
        let client = |peer: &str, forwarded_for: &str| limits.client(ip(peer), Some(forwarded_for));
        assert_eq!(client("203.0.113.7", "198.51.100.1"), Some(ip("203.0.113.7")));
        assert_eq!(client("10.0.0.2", "198.51.100.1"), Some(ip("198.51.100.1")));
        assert_eq!(client("10.0.0.2", "198.51.100.1, 203.0.113.7"), Some(ip("203.0.113.7")));
        assert_eq!(client("::ffff:10.0.0.2", "192.168.1.1, 10.0.0.3"), None);
        assert_eq!(client("127.0.0.1", "nobody"), None);
        assert_eq!(limits.client(ip("127.0.0.1"), None), None);
        assert_eq!(client("10.0.0.2", "2001:db8:1:2:3::4"), Some(ip("2001:db8:1:2::")));
    }

    #[test]
    fn each_has_their_own_limit_and_is_told_when_to_come_back() {
        let limits = limits();
        let greedy = ip("203.0.113.7");
        for _ in 0..3 {
            limits.address(greedy, None).expect("within the limit");
        }
        let pause = limits.address(greedy, None).expect_err("too many");
        assert!(pause > Duration::ZERO && pause <= Duration::from_secs(1), "{pause:?}");
        limits.address(ip("203.0.113.8"), None).expect("somebody else");
        for _ in 0..100 {
            limits.address(ip("127.0.0.1"), None).expect("our own");
        }
        limits.account(UserId(1)).expect("within the limit");
        limits.account(UserId(1)).expect("within the limit");
        limits.account(UserId(1)).expect_err("too many");
        limits.account(UserId(2)).expect("somebody else");
    }

    #[test]
    fn what_another_server_has_let_in_counts() {
        let limits = limits();
        limits.take_in(Asker::Account(UserId(1)), 1);
        limits.account(UserId(1)).expect("one is left");
        limits.account(UserId(1)).expect_err("and no more");
        limits.take_in(Asker::Account(UserId(2)), 1_000_000);
        limits.account(UserId(2)).expect_err("nothing is left");
    }

    #[test]
    fn no_limit_is_no_limit() {
        let mut limits = Config::load(None, &Flags::default()).expect("the defaults are good").limits;
        (limits.account_purchases_per_s, limits.address_requests_per_s) = (0, 0);
        let limits = RateLimits::new(&limits, InstanceId(uuid::Uuid::nil()), None);
        for _ in 0..10_000 {
            limits.account(UserId(1)).expect("no limit");
            limits.address(ip("203.0.113.7"), None).expect("no limit");
        }
    }
}
