//! What `holdfast doctor` finds, and what it makes of votes and clocks whatever store has them.
//!
//! Adapters ask their stores and judge what is particular to them; nothing in here asks anybody.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::domain::Timestamp;

/// Clocks that differ by more are worth a look: holds, tokens and the order of ids go by them.
const SKEW_MAX_MS: i64 = 500;

/// Clocks that differ by more make servers take each other for dead, and buyers late.
const SKEW_FATAL_MS: i64 = 5_000;

/// How something was found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// The shop sells; somebody should know.
    Warn,
    /// Something has to be done.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub verdict: Verdict,
    pub detail: String,
    /// What to do about it, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Whether `serve` refuses to start: the setting is wrong for certain, and orders could be lost by it.
    pub refuses_start: bool,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, detail: detail.into(), advice: None, refuses_start: false }
    }

    /// The shop sells all the same.
    pub fn warn(check: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, advice: Some(advice.into()), ..Self::ok(check, detail) }
    }

    /// Something has to be done.
    pub fn fail(check: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, advice: Some(advice.into()), ..Self::ok(check, detail) }
    }

    /// Something has to be done before a shop may start.
    pub fn fatal(check: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { refuses_start: true, ..Self::fail(check, detail, advice) }
    }

    /// What is wrong, or that all is well where nothing is.
    pub fn all_well_unless(
        wrong: Vec<Self>,
        check: &'static str,
        detail: impl FnOnce() -> String,
    ) -> Vec<Self> {
        if wrong.is_empty() { vec![Self::ok(check, detail())] } else { wrong }
    }
}

/// One line: the mark, the check, what was found and what to do.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        write!(f, "{mark:<4} {:<20} {}", self.check, self.detail)?;
        self.advice.as_ref().map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

/// Somebody who has a vote, and the machine that it runs on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Vote {
    pub name: String,
    pub host: String,
}

/// What becomes of a quorum when a machine dies. `unheard` is how many there may be besides, who said nothing: while
/// somebody is away nothing is wrong for certain.
pub fn quorum(check: &'static str, votes: &[Vote], unheard: usize) -> Finding {
    let count = votes.len();
    let mut hosts: BTreeMap<&str, usize> = BTreeMap::new();
    for vote in votes {
        *hosts.entry(&vote.host).or_default() += 1;
    }
    let names = votes.iter().map(|vote| &*vote.name).collect::<Vec<_>>().join(", ");
    let wrong = |detail: String, advice: &str| match unheard {
        0 => Finding::fail(check, detail, advice),
        _ => Finding::warn(check, format!("{detail}, {unheard} more said nothing"), advice),
    };
    if count.is_multiple_of(2) {
        let detail = format!("{count} votes ({names}): an even number");
        return wrong(detail, "add one or take one away: the last of an even number only adds a way to fail");
    }
    if !hosts.is_empty() && hosts.keys().all(|host| is_this_machine(host)) {
        let detail = format!("all {count} votes ({names}) are on this machine");
        return Finding::warn(check, detail, "good for trying out; spread them over three machines to sell");
    }
    if let Some((host, on_it)) = hosts.iter().find(|(_, on_it)| 2 * **on_it > count) {
        let detail = format!("{on_it} of {count} votes ({names}) are on {host}: nothing survives its loss");
        return wrong(detail, "spread the votes over machines so that none has most of them");
    }
    let away = if unheard == 0 { String::new() } else { format!("; {unheard} more said nothing") };
    Finding::ok(check, format!("{count} votes on {} machines ({names}){away}", hosts.len()))
}

/// Parts those who have answered from those who have not.
pub fn parted<T, E>(answers: Vec<Result<T, E>>) -> (Vec<T>, Vec<E>) {
    let (mut heard, mut silent) = (Vec::new(), Vec::new());
    for answer in answers {
        match answer {
            Ok(facts) => heard.push(facts),
            Err(why) => silent.push(why),
        }
    }
    (heard, silent)
}

/// Whether a name or an address stands for the machine that it is used on.
pub fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What somebody's clock said when it was asked.
#[derive(Clone, Debug)]
pub struct ClockReading {
    pub name: String,
    /// Our time when the question was sent, and how long its answer took.
    pub asked_at: Timestamp,
    pub took: Duration,
    pub theirs: Timestamp,
}

impl ClockReading {
    /// By how many milliseconds that clock is ahead of ours, at least: the answer may have been given at any moment
    /// while we waited.
    fn skew_ms(&self) -> i64 {
        let earliest = self.theirs.0 - self.asked_at.plus(self.took).0;
        let latest = self.theirs.0 - self.asked_at.0;
        earliest.max(0) + latest.min(0)
    }
}

/// Whether clocks go alike.
pub fn clocks(check: &'static str, readings: &[ClockReading]) -> Vec<Finding> {
    const ADVICE: &str = "let every machine follow the same time servers (chrony or systemd-timesyncd)";
    let judge = |reading: &ClockReading| {
        let skew = reading.skew_ms();
        let direction = if skew > 0 { "ahead of" } else { "behind" };
        let detail = format!("{} is {} ms {direction} this machine", reading.name, skew.abs());
        if skew.abs() > SKEW_FATAL_MS {
            Some(Finding::fatal(check, detail, ADVICE))
        } else {
            (skew.abs() > SKEW_MAX_MS).then(|| Finding::warn(check, detail, ADVICE))
        }
    };
    let wrong = readings.iter().filter_map(judge).collect();
    Finding::all_well_unless(wrong, check, || {
        let most = readings.iter().map(|reading| reading.skew_ms().abs()).max().unwrap_or_default();
        format!("{} differ by at most {most} ms from this machine", readings.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn votes(hosts: &[&str]) -> Vec<Vote> {
        let vote = |(n, host): (usize, &&str)| Vote { name: format!("v{n}"), host: (*host).to_owned() };
        hosts.iter().enumerate().map(vote).collect()
    }

    #[test]
    fn a_quorum_is_odd_and_no_machine_has_most_of_it() {
        use Verdict::{Fail, Ok, Warn};
        for (hosts, unheard, verdict, says) in [
            (&["a", "b", "c"][..], 0, Ok, "3 votes on 3 machines"),
            (&["a", "a", "b", "b", "c"], 0, Ok, "5 votes on 3 machines"),
            (&["a", "b"], 0, Fail, "an even number"),
            (&["a", "b", "c", "d"], 0, Fail, "an even number"),
            (&[], 0, Fail, "an even number"),
            (&["a"], 0, Fail, "1 of 1 votes (v0) are on a"),
            (&["a", "b", "b"], 0, Fail, "2 of 3 votes (v0, v1, v2) are on b"),
            (&["a", "a", "a", "b", "c"], 0, Fail, "3 of 5"),
            // Who is away may be the one that makes it odd.
            (&["a", "b"], 1, Warn, "1 more said nothing"),
            (&["a", "b", "b"], 1, Warn, "1 more said nothing"),
            (&["a", "b", "c"], 2, Ok, "2 more said nothing"),
            // One machine for trying out.
            (&["127.0.0.1", "localhost", "::1"], 0, Warn, "on this machine"),
            (&["127.0.0.1", "127.0.0.1"], 0, Fail, "an even number"),
            (&["127.0.0.1", "127.0.0.1", "b"], 0, Fail, "2 of 3"),
        ] {
            let finding = quorum("votes", &votes(hosts), unheard);
            assert_eq!(finding.verdict, verdict, "{hosts:?}: {finding}");
            assert!(finding.detail.contains(says), "{hosts:?}: {finding}");
            assert_eq!(finding.advice.is_some(), verdict != Ok, "{finding}");
            assert!(!finding.refuses_start, "fewer copies are no reason not to sell: {finding}");
        }
    }

    #[test]
    fn clocks_are_compared_with_regard_to_how_long_the_answer_took() {
        use Verdict::{Fail, Ok, Warn};
        for (theirs, took, verdict) in [
            (0, 0, Ok),
            (500, 0, Ok),
            (501, 0, Warn),
            (-501, 0, Warn),
            // It may have been asked late, or answered early.
            (1_200, 800, Ok),
            (1_400, 800, Warn),
            (-501, 800, Warn),
            (400, 800, Ok),
            (5_000, 0, Warn),
            (5_001, 0, Fail),
            (-5_001, 1_000, Fail),
        ] {
            let reading = ClockReading {
                name: "db".into(),
                asked_at: Timestamp(1_000_000),
                took: Duration::from_millis(took),
                theirs: Timestamp(1_000_000 + theirs),
            };
            let findings = clocks("clocks", &[reading]);
            assert_eq!(findings.len(), 1);
            assert_eq!(findings[0].verdict, verdict, "{theirs} ms in {took} ms: {}", findings[0]);
            assert_eq!(findings[0].refuses_start, verdict == Fail);
        }
    }

    #[test]
    fn a_finding_is_one_line_with_what_to_do() {
        let finding = Finding::fail("disk", "3 MiB free", "make room");
        assert_eq!(finding.to_string(), "FAIL disk                 3 MiB free; make room");
        assert_eq!(Finding::ok("disk", "free").to_string(), "ok   disk                 free");
        let json = serde_json::to_value(&finding).expect("plain data");
        assert_eq!(json["verdict"], "fail");
    }
}
