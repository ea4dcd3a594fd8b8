//! A circuit breaker: after some failures in a row nobody waits for a service that is known to be down.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Whether calls go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// They do. So many failed in a row.
    Closed { failures: u32 },
    /// They do not, until then.
    Open { until: Instant },
    /// One is on its way to find out; the others do not go through.
    HalfOpen,
}

/// Opens after some failures in a row, lets one call through after a while, and closes when that succeeds.
#[derive(Debug)]
pub struct Breaker {
    failures_max: u32,
    open_for: Duration,
    state: Mutex<State>,
}

/// Leave to call. Whoever drops it without saying what came of the call has learned nothing.
#[must_use]
#[derive(Debug)]
pub struct Leave<'b> {
    breaker: &'b Breaker,
    is_probe: bool,
    is_settled: bool,
}

impl Breaker {
    /// Opens after `failures_max` failures in a row, each time for `open_for`.
    pub fn new(failures_max: u32, open_for: Duration) -> Self {
        Self { failures_max, open_for, state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// Leave to call, unless the other side is known to be down.
    pub fn enter(&self) -> Option<Leave<'_>> {
        let mut state = self.state();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { until } if Instant::now() >= until => {
                *state = State::HalfOpen;
                true
            }
            State::Open { .. } | State::HalfOpen => return None,
        };
        Some(Leave { breaker: self, is_probe, is_settled: false })
    }

    /// Whether all calls go through.
    pub fn is_closed(&self) -> bool {
        matches!(*self.state(), State::Closed { .. })
    }

    fn open(&self) -> State {
        State::Open { until: Instant::now() + self.open_for }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave<'_> {
    /// The other side answered.
    pub fn succeeded(mut self) {
        self.is_settled = true;
        let mut state = self.breaker.state();
        // The answer to a call from before the failures says little about now.
        if self.is_probe || matches!(*state, State::Closed { .. }) {
            *state = State::Closed { failures: 0 };
        }
    }

    /// The other side did not answer. `true` when this has opened the breaker.
    pub fn failed(mut self) -> bool {
        self.is_settled = true;
        let mut state = self.breaker.state();
        match *state {
            _ if self.is_probe => *state = self.breaker.open(),
            State::Closed { failures } if failures + 1 >= self.breaker.failures_max => {
                *state = self.breaker.open();
                return true;
            }
            State::Closed { failures } => *state = State::Closed { failures: failures + 1 },
            State::Open { .. } | State::HalfOpen => {}
        }
        false
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.is_probe && !self.is_settled {
            *self.breaker.state() = self.breaker.open();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(1);

    fn breaker() -> Breaker {
        Breaker::new(3, OPEN_FOR)
    }

    fn fail(breaker: &Breaker) -> bool {
        breaker.enter().expect("it lets calls through").failed()
    }

    fn opened() -> Breaker {
        let breaker = breaker();
        assert_eq!([(); 3].map(|()| fail(&breaker)), [false, false, true]);
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_then_lets_nothing_through() {
        let breaker = opened();
        assert!(!breaker.is_closed());
        tokio::time::advance(OPEN_FOR - Duration::from_millis(1)).await;
        assert!(breaker.enter().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_in_between_begins_the_count_anew() {
        let breaker = breaker();
        for _ in 0..10 {
            assert!(!fail(&breaker) && !fail(&breaker));
            breaker.enter().expect("closed").succeeded();
        }
        assert!(breaker.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_decides_whether_it_closes() {
        let breaker = opened();
        tokio::time::advance(OPEN_FOR).await;
        let probe = breaker.enter().expect("a probe");
        assert!(breaker.enter().is_none(), "one at a time");
        assert!(!breaker.is_closed(), "not before it is answered");
        assert!(!probe.failed(), "it was open before");
        assert!(breaker.enter().is_none(), "open again");
        tokio::time::advance(OPEN_FOR).await;
        breaker.enter().expect("the next probe").succeeded();
        assert!(breaker.is_closed());
        assert!(!fail(&breaker) && !fail(&breaker), "the count begins anew");
        assert!(breaker.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_was_given_up_keeps_nobody_out_for_ever() {
        let breaker = opened();
        tokio::time::advance(OPEN_FOR).await;
        drop(breaker.enter().expect("a probe"));
        assert!(breaker.enter().is_none());
        tokio::time::advance(OPEN_FOR).await;
        assert!(breaker.enter().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_from_before_it_opened_change_nothing() {
        let breaker = breaker();
        let (old, older) = (breaker.enter().expect("closed"), breaker.enter().expect("closed"));
        for _ in 0..3 {
            fail(&breaker);
        }
        old.succeeded();
        assert!(!breaker.is_closed());
        tokio::time::advance(OPEN_FOR).await;
        let probe = breaker.enter().expect("a probe");
        assert!(!older.failed());
        probe.succeeded();
        assert!(breaker.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_given_up_counts_for_nothing() {
        let breaker = breaker();
        for _ in 0..10 {
            drop(breaker.enter().expect("closed"));
        }
        assert!(breaker.is_closed());
    }
}
