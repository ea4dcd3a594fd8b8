//! Counting while a load runs, and what is told about it afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::answer::Answer;

/// Latencies are kept to three significant digits; a histogram then takes some kilobytes and grows on demand.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Longer ones are recorded as this long; it bounds what a histogram takes.
const LATENCY_MAX: Duration = Duration::from_secs(3600);

/// Why an answer is an [`Answer::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    Status(u16),
    Io(io::ErrorKind),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Io(kind) => kind.fmt(f),
        }
    }
}

/// The figures of one connection, or of several added up.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// In microseconds, by the number of the answer; made when an answer first occurs, for most never do.
    latencies_us: [Option<Histogram<u32>>; Answer::ALL.len()],
    causes: BTreeMap<Cause, u64>,
    /// Requests of an open loop whose time had come but which were never sent.
    pub(super) unsent: u64,
    /// From the beginning of the measurement to the last answer.
    pub(super) elapsed: Duration,
}

impl Tally {
    pub(super) fn record(&mut self, answer: Answer, latency: Duration) {
        let histogram = self.latencies_us[answer as usize].get_or_insert_with(|| {
            Histogram::new(SIGNIFICANT_DIGITS).expect("0 to 5 significant digits are possible")
        });
        let latency_us = latency.min(LATENCY_MAX).as_micros() as u64;
        histogram.record(latency_us).expect("a histogram grows to take any latency up to the maximum");
    }

    pub(super) fn record_cause(&mut self, cause: Cause) {
        *self.causes.entry(cause).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: Self) {
        for (sum, more) in self.latencies_us.iter_mut().zip(other.latencies_us) {
            match (sum, more) {
                (Some(sum), Some(more)) => {
                    sum.add(more).expect("a histogram grows to take another's latencies")
                }
                (sum @ None, more) => *sum = more,
                (Some(_), None) => {}
            }
        }
        for (cause, count) in other.causes {
            *self.causes.entry(cause).or_default() += count;
        }
        self.unsent += other.unsent;
        self.elapsed = self.elapsed.max(other.elapsed);
    }

    pub(super) fn report(&self, connections: usize, target_rate: Option<f64>) -> Report {
        let elapsed_s = self.elapsed.as_secs_f64();
        let per_second = |count: u64| if elapsed_s > 0.0 { count as f64 / elapsed_s } else { 0.0 };
        let answers: BTreeMap<_, _> = Answer::ALL
            .into_iter()
            .filter_map(|answer| {
                let histogram = self.latencies_us[answer as usize].as_ref()?;
                let count = histogram.len();
                let latency_us = Latency::of(histogram);
                Some((answer, AnswerReport { count, per_second: per_second(count), latency_us }))
            })
            .collect();
        let requests = answers.values().map(|answer| answer.count).sum();
        Report {
            connections,
            target_rate_per_second: target_rate,
            elapsed_s,
            requests,
            requests_per_second: per_second(requests),
            unsent: self.unsent,
            answers,
            errors: self.causes.iter().map(|(cause, &count)| (cause.to_string(), count)).collect(),
        }
    }
}

/// What a run measured; requests of the warm-up are in none of its figures.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How many connections sent requests.
    pub connections: usize,
    /// The rate an open loop was asked for, in requests per second; `None` for a closed loop.
    pub target_rate_per_second: Option<f64>,
    /// From the end of the warm-up to the last answer, in seconds.
    pub elapsed_s: f64,
    /// Requests that got an answer or an error.
    pub requests: u64,
    /// `requests` divided by `elapsed_s`.
    pub requests_per_second: f64,
    /// Requests of an open loop that were due and never sent, because their connections still waited for earlier
    /// answers when the time was over. When there are any, the latencies say too little.
    pub unsent: u64,
    /// The answers that occurred.
    pub answers: BTreeMap<Answer, AnswerReport>,
    /// How often [`Answer::Error`] had which cause: a status, or what went wrong on the connection.
    pub errors: BTreeMap<String, u64>,
}

/// The figures of one kind of answer.
#[derive(Clone, Debug, Serialize)]
pub struct AnswerReport {
    /// How many there were.
    pub count: u64,
    /// `count` divided by the elapsed time in seconds.
    pub per_second: f64,
    /// How long they took, in microseconds.
    pub latency_us: Latency,
}

/// Latencies in microseconds, to three significant digits. In a closed loop they begin when the request is sent, in
/// an open loop when it should have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// The shortest.
    pub min: u64,
    /// Half of the answers took at most this long.
    pub p50: u64,
    /// 90 % took at most this long.
    pub p90: u64,
    /// 95 % took at most this long.
    pub p95: u64,
    /// 99 % took at most this long.
    pub p99: u64,
    /// 99.9 % took at most this long.
    pub p99_9: u64,
    /// The longest.
    pub max: u64,
}

impl Latency {
    fn of(histogram: &Histogram<u32>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            min: histogram.min(),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram.max(),
        }
    }
}

impl Report {
    /// How many answers of this kind there were.
    #[must_use]
    pub fn count(&self, answer: Answer) -> u64 {
        self.answers.get(&answer).map_or(0, |figures| figures.count)
    }
}

/// A table for people, several lines without a line break at the end.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, elapsed_s, requests, requests_per_second, .. } = self;
        write!(f, "{requests} requests in {elapsed_s:.2} s ({requests_per_second:.0}/s), ")?;
        write!(f, "{connections} connection{}, ", if *connections == 1 { "" } else { "s" })?;
        match self.target_rate_per_second {
            Some(rate) => writeln!(f, "open loop at {rate}/s, latency from the intended start")?,
            None => writeln!(f, "closed loop")?,
        }
        write!(f, "{:<9}{:>11}{:>10}", "answer", "count", "per s")?;
        for column in ["min", "p50", "p90", "p95", "p99", "p99.9", "max"] {
            write!(f, "{column:>10}")?;
        }
        write!(f, "  (µs)")?;
        for (answer, AnswerReport { count, per_second, latency_us }) in &self.answers {
            write!(f, "\n{:<9}{count:>11}{per_second:>10.0}", answer.name())?;
            let Latency { min, p50, p90, p95, p99, p99_9, max } = latency_us;
            for latency in [min, p50, p90, p95, p99, p99_9, max] {
                write!(f, "{latency:>10}")?;
            }
        }
        for (cause, count) in &self.errors {
            write!(f, "\nerror: {cause}: {count}")?;
        }
        if self.unsent > 0 {
            write!(f, "\nnever sent, because the server was behind: {}", self.unsent)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(answer: Answer, latencies_ms: impl IntoIterator<Item = u64>) -> Tally {
        let mut tally = Tally::default();
        for latency_ms in latencies_ms {
            tally.record(answer, Duration::from_millis(latency_ms));
        }
        tally
    }

    #[test]
    fn tallies_add_up_by_answer() {
        let mut sum = Tally::default();
        // Several orders of magnitude, smaller ones into larger ones and the other way round.
        sum.add(tally(Answer::Sale, 1..=500));
        sum.add(tally(Answer::Refusal, [60_000]));
        sum.add(tally(Answer::Sale, 501..=1000));
        sum.add(tally(Answer::Refusal, [0]));
        sum.add(Tally { unsent: 3, elapsed: Duration::from_secs(4), ..Tally::default() });
        sum.add(Tally { unsent: 4, elapsed: Duration::from_secs(2), ..Tally::default() });

        let report = sum.report(5, None);
        assert_eq!((report.requests, report.unsent), (1002, 7));
        assert_eq!((report.count(Answer::Sale), report.count(Answer::View)), (1000, 0));
        assert!((report.elapsed_s - 4.0).abs() < 1e-9);
        assert!((report.answers[&Answer::Sale].per_second - 250.0).abs() < 1e-9);

        let sale = report.answers[&Answer::Sale].latency_us;
        let close = |actual: u64, expected: u64| actual.abs_diff(expected) * 1000 <= expected;
        for (actual, expected) in [
            (sale.min, 1_000),
            (sale.p50, 500_000),
            (sale.p90, 900_000),
            (sale.p95, 950_000),
            (sale.p99, 990_000),
            (sale.p99_9, 999_000),
            (sale.max, 1_000_000),
        ] {
            assert!(close(actual, expected), "{actual} is not {expected}");
        }
        let refusal = report.answers[&Answer::Refusal].latency_us;
        assert_eq!(refusal.min, 0);
        assert!(close(refusal.max, 60_000_000));
    }

    #[test]
    fn the_report_is_told_to_machines_and_people() {
        let mut sum = tally(Answer::Sale, [2]);
        sum.add(tally(Answer::Error, [1]));
        sum.record_cause(Cause::Status(500));
        sum.record_cause(Cause::Io(io::ErrorKind::ConnectionRefused));
        sum.elapsed = Duration::from_secs(2);
        sum.unsent = 9;
        let report = sum.report(1, Some(100.0));

        insta::assert_json_snapshot!(report, @r#"
        {
          "connections": 1,
          "target_rate_per_second": 100.0,
          "elapsed_s": 2.0,
          "requests": 2,
          "requests_per_second": 1.0,
          "unsent": 9,
          "answers": {
            "sale": {
              "count": 1,
              "per_second": 0.5,
              "latency_us": {
                "min": 2000,
                "p50": 2000,
                "p90": 2000,
                "p95": 2000,
                "p99": 2000,
                "p99_9": 2000,
                "max": 2000
              }
            },
            "error": {
              "count": 1,
              "per_second": 0.5,
              "latency_us": {
                "min": 1000,
                "p50": 1000,
                "p90": 1000,
                "p95": 1000,
                "p99": 1000,
                "p99_9": 1000,
                "max": 1000
              }
            }
          },
          "errors": {
            "connection refused": 1,
            "status 500": 1
          }
        }
        "#);
        insta::assert_snapshot!(report.to_string(), @r#"
        2 requests in 2.00 s (1/s), 1 connection, open loop at 100/s, latency from the intended start
        answer         count     per s       min       p50       p90       p95       p99     p99.9       max  (µs)
        sale               1         0      2000      2000      2000      2000      2000      2000      2000
        error              1         0      1000      1000      1000      1000      1000      1000      1000
        error: connection refused: 1
        error: status 500: 1
        never sent, because the server was behind: 9
        "#);
    }
}
