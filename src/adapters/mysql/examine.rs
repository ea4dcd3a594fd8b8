//! Whether the members of the database are set so that what was acknowledged stays: for `holdfast doctor` and the
//! start of a server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use mysql_async::{Conn, OptsBuilder};
use tokio::time::{Instant, timeout};

use crate::domain::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::examination::{ClockReading, Finding, Vote, clocks, parted, quorum};

use super::error::{DbError, Result};
use super::members::{Settings, give_up};
use super::session::{ask, take};
use super::sql::Message;

const ANSWERS: &str = "database members";
const VERSION: &str = "database version";
const DURABILITY: &str = "database durability";
const GROUP: &str = "database group";
const QUORUM: &str = "database quorum";
const CLOCKS: &str = "database clocks";
const BUDGET: &str = "database connections";
const TLS: &str = "database TLS";

/// The first version whose CHECK constraints hold.
const VERSION_MIN: (u32, u32, u32) = (8, 0, 16);

/// Connections beyond ours: administrators, replication, backups, monitoring.
const CONNECTIONS_RESERVE: u64 = 10;

/// A certificate that ends sooner is to be renewed.
const CERTIFICATE_DAYS_MIN: i64 = 30;

/// What is asked of a member, besides its time and its group.
const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'version_comment', \
     'innodb_flush_log_at_trx_commit', 'sync_binlog', 'log_bin', 'innodb_doublewrite', 'read_only', \
     'max_connections', 'max_user_connections', 'group_replication_single_primary_mode', \
     'group_replication_consistency', 'group_replication_unreachable_majority_timeout')";

const ENCRYPTION: &str = "SHOW SESSION STATUS WHERE Variable_name IN ('Ssl_cipher', 'Ssl_server_not_after')";

/// Before it has joined, a member stands there without an id.
const VIEW: &str = "SELECT IF(MEMBER_ID = '', @@server_uuid, MEMBER_ID), MEMBER_HOST, CAST(MEMBER_PORT AS SIGNED) \
     FROM performance_schema.replication_group_members";

/// What one member has said.
struct Facts {
    address: String,
    clock: ClockReading,
    /// Settings and what the connection is like, by their names in lower case.
    values: BTreeMap<String, String>,
    /// Of a session of ours.
    isolation: String,
    /// Who is in its group as it sees it; nobody where there is none.
    group: BTreeSet<Seat>,
}

/// A member of a group: id, host and port.
type Seat = (String, String, u16);

/// Asks each member within `patience` and judges what they say.
pub async fn examine(
    settings: &Settings,
    connections_max: usize,
    clock: &dyn Clock,
    patience: Duration,
) -> Vec<Finding> {
    let answers = join_all(settings.addresses.iter().map(|address| async move {
        let shown = format!("{}:{}", address.0, address.1);
        match timeout(patience, question(settings, address, clock)).await {
            Ok(Ok(facts)) => Ok(facts),
            Ok(Err(error)) => Err((shown, error.to_string())),
            Err(_) => Err((shown, format!("no answer within {} ms", patience.as_millis()))),
        }
    }));
    let (heard, silent) = parted(answers.await);
    let mut findings = vec![presence(heard.len(), &silent)];
    if heard.is_empty() {
        return findings;
    }
    findings.extend(versions(&heard));
    findings.extend(durability(&heard));
    findings.extend(group(&heard, settings.addresses.len()));
    findings.extend(votes(&heard, &silent));
    let readings: Vec<_> = heard.iter().map(|facts| facts.clock.clone()).collect();
    findings.extend(clocks(CLOCKS, &readings));
    findings.extend(budget(&heard, connections_max as u64));
    findings.extend(encryption(&heard, settings.ca_file.is_some(), clock.now()));
    findings
}

async fn question(settings: &Settings, address: &(String, u16), clock: &dyn Clock) -> Result<Facts> {
    // All of this is about the member: one that follows from far behind may not have the shop's tables yet.
    let nowhere = OptsBuilder::from_opts(settings.options(address)).db_name(None::<String>);
    let mut open = Conn::new(nowhere).await?;
    let facts = facts(&mut open, format!("{}:{}", address.0, address.1), clock).await;
    give_up(open);
    facts
}

async fn facts(open: &mut Conn, address: String, clock: &dyn Clock) -> Result<Facts> {
    const NOW: &str = "SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED), @@session.transaction_isolation";
    let (asked_at, since) = (clock.now(), Instant::now());
    let mut answer = ask(open, Message::default().words(NOW)).await?;
    let took = since.elapsed();
    let row = answer.first_mut().ok_or_else(|| DbError::Unreadable("no time".into()))?;
    let (theirs, isolation) = (Timestamp(take(row, 0)?), take(row, 1)?);
    let mut values = BTreeMap::new();
    for question in [VARIABLES, ENCRYPTION] {
        for mut row in ask(open, Message::default().words(question)).await? {
            values.insert(take::<String>(&mut row, 0)?.to_lowercase(), take(&mut row, 1)?);
        }
    }
    let seat = |mut row| {
        // A member that has never joined has no port.
        let port =
            take::<Option<i64>>(&mut row, 2)?.and_then(|port| port.try_into().ok()).unwrap_or_default();
        Ok((take(&mut row, 0)?, take(&mut row, 1)?, port))
    };
    let group = match ask(open, Message::default().words(VIEW)).await {
        Ok(rows) => rows.into_iter().map(seat).collect::<Result<_>>()?,
        // Without the right to see it.
        Err(error) if error.spares_connection() => BTreeSet::new(),
        Err(error) => return Err(error),
    };
    let clock = ClockReading { name: address.clone(), asked_at, took, theirs };
    Ok(Facts { address, clock, values, isolation, group })
}

impl Facts {
    fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("", |value| value)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.value(name).parse().ok()
    }

    fn is_on(&self, name: &str) -> bool {
        ["ON", "1"].contains(&self.value(name))
    }

    /// Whether it only follows, outside any group: then nothing is acknowledged by it.
    fn only_follows(&self) -> bool {
        self.group.is_empty() && self.is_on("read_only")
    }
}

fn presence(heard: usize, silent: &[(String, String)]) -> Finding {
    let say = |(address, why): &(String, String)| format!("{address}: {why}");
    let who = silent.iter().map(say).collect::<Vec<_>>().join("; ");
    let advice = "start what is away, or look at ledger.url, ledger.password and ledger.ca_file";
    match (heard, silent.len()) {
        (_, 0) => Finding::ok(ANSWERS, format!("all {heard} answer")),
        (0, _) => Finding::fail(ANSWERS, format!("none answers ({who})"), advice),
        (_, away) => {
            Finding::warn(ANSWERS, format!("{away} of {} do not answer ({who})", heard + away), advice)
        }
    }
}

/// The three numbers that a version begins with.
fn version_of(text: &str) -> Option<(u32, u32, u32)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let mut numbers = text[..end].split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or_default()))
}

fn versions(heard: &[Facts]) -> Vec<Finding> {
    let judge = |facts: &Facts| {
        let version = facts.value("version");
        let detail = format!("{} is {version} ({})", facts.address, facts.value("version_comment"));
        if version.contains("MariaDB") {
            return Some(Finding::warn(VERSION, detail, "untried: MySQL 8.0.16 or later is what was tested"));
        }
        match version_of(version) {
            Some(version) if version >= VERSION_MIN => None,
            Some(_) => {
                let advice = "upgrade to MySQL 8.0.16 or later: before it CHECK constraints are not enforced";
                Some(Finding::fatal(VERSION, detail, advice))
            }
            None => Some(Finding::warn(VERSION, detail, "see that it is MySQL 8.0.16 or later")),
        }
    };
    let wrong = heard.iter().filter_map(judge).collect();
    Finding::all_well_unless(wrong, VERSION, || {
        let versions: BTreeSet<_> = heard.iter().map(|facts| facts.value("version")).collect();
        format!("MySQL {}", versions.into_iter().collect::<Vec<_>>().join(", "))
    })
}

/// Settings without which a commit that was acknowledged can be gone.
fn durability(heard: &[Facts]) -> Vec<Finding> {
    let mut wrong = Vec::new();
    for facts in heard {
        let mut say = |name: &str, value: &str, wanted: &str, why: &str| {
            let detail = format!("{} has {name} = {value}: {why}", facts.address);
            let advice = format!("set {name} = {wanted}");
            wrong.push(if facts.only_follows() {
                Finding::warn(DURABILITY, detail, advice)
            } else {
                Finding::fatal(DURABILITY, detail, advice)
            });
        };
        let flush = facts.value("innodb_flush_log_at_trx_commit");
        if flush != "1" {
            say("innodb_flush_log_at_trx_commit", flush, "1", "a loss of power loses acknowledged orders");
        }
        let sync = facts.value("sync_binlog");
        if facts.is_on("log_bin") && sync != "1" {
            say("sync_binlog", sync, "1", "after a loss of power members differ");
        }
        if facts.value("innodb_doublewrite") == "OFF" {
            say("innodb_doublewrite", "OFF", "ON", "a page that was written by half cannot be mended");
        }
        if facts.isolation != "READ-COMMITTED" {
            let detail = format!("{} runs our sessions at {}", facts.address, facts.isolation);
            let advice = "let whatever is in between keep the settings of a session";
            wrong.push(Finding::fatal(DURABILITY, detail, advice));
        }
        if !facts.is_on("log_bin") {
            let detail =
                format!("{} writes no binary log: nothing can follow it or be restored", facts.address);
            wrong.push(Finding::warn(DURABILITY, detail, "set log_bin"));
        }
    }
    Finding::all_well_unless(wrong, DURABILITY, || {
        "every commit is flushed with its binary log (innodb_flush_log_at_trx_commit = 1, sync_binlog = 1), \
         sessions are READ-COMMITTED"
            .into()
    })
}

/// How members of a group take over from each other.
fn group(heard: &[Facts], named: usize) -> Vec<Finding> {
    let mut wrong = Vec::new();
    for facts in heard.iter().filter(|facts| !facts.group.is_empty()) {
        if facts.value("group_replication_single_primary_mode") == "OFF" {
            let detail = format!("{} lets every member write", facts.address);
            wrong.push(Finding::fail(GROUP, detail, "set group_replication_single_primary_mode = ON"));
        }
        let consistency = facts.value("group_replication_consistency");
        if consistency == "EVENTUAL" {
            let detail = format!("{} has group_replication_consistency = {consistency}", facts.address);
            let advice = "set it to BEFORE_ON_PRIMARY_FAILOVER: a new primary first carries out what the old one promised";
            wrong.push(Finding::fail(GROUP, detail, advice));
        }
        if facts.number("group_replication_unreachable_majority_timeout") == Some(0) {
            let detail = format!("{} waits for ever when it is cut off from the others", facts.address);
            let advice = "set group_replication_unreachable_majority_timeout = 5";
            wrong.push(Finding::warn(GROUP, detail, advice));
        }
    }
    if heard.iter().all(|facts| facts.group.is_empty()) {
        let detail = match named {
            1 => "one database without a group: with it gone nothing is sold",
            _ => {
                "no group can be seen: nobody takes over by itself, and what was acknowledged last can be lost"
            }
        };
        let advice =
            "use Group Replication, and grant SELECT on performance_schema.replication_group_members";
        wrong.push(Finding::warn(GROUP, detail, advice));
    }
    Finding::all_well_unless(wrong, GROUP, || {
        "one primary, and a new one first carries out what the old one promised".into()
    })
}

/// The votes of the group, by what all members see together: one that was expelled is in no other's view.
fn votes(heard: &[Facts], silent: &[(String, String)]) -> Option<Finding> {
    let seats: BTreeMap<&str, (&str, u16)> = heard
        .iter()
        .flat_map(|facts| &facts.group)
        // A view that somebody has when alone names no host.
        .filter(|(_, host, _)| !host.is_empty())
        .map(|(id, host, port)| (&**id, (&**host, *port)))
        .collect();
    if seats.is_empty() {
        return None;
    }
    let votes: Vec<_> = seats
        .values()
        .map(|(host, port)| Vote { name: format!("{host}:{port}"), host: (*host).to_owned() })
        .collect();
    let unheard = silent.iter().filter(|(address, _)| votes.iter().all(|vote| vote.name != *address)).count();
    Some(quorum(QUORUM, &votes, unheard))
}

/// Whether each member lets in as many as the configuration says.
fn budget(heard: &[Facts], ours: u64) -> Vec<Finding> {
    let judge = |facts: &Facts| {
        let all = facts.number("max_connections")?;
        // Zero is no limit.
        let of_a_user = facts.number("max_user_connections").filter(|of_a_user| *of_a_user > 0);
        let most = of_a_user.unwrap_or(all).min(all);
        let detail = format!("{} lets in {most}, ledger.connections_max is {ours}", facts.address);
        if most < ours {
            let advice = format!(
                "set max_connections = {} there, or lower ledger.connections_max",
                ours + CONNECTIONS_RESERVE
            );
            return Some(Finding::fatal(BUDGET, detail, advice));
        }
        (all < ours + CONNECTIONS_RESERVE).then(|| {
            let advice = format!("leave {CONNECTIONS_RESERVE} for replication, backups and administrators");
            Finding::warn(BUDGET, detail, advice)
        })
    };
    let wrong = heard.iter().filter_map(judge).collect();
    Finding::all_well_unless(wrong, BUDGET, || {
        let least =
            heard.iter().filter_map(|facts| facts.number("max_connections")).min().unwrap_or_default();
        format!("all servers and commands together take {ours} at most, members let in {least}")
    })
}

/// Whether nobody reads along, and for how long that can be proved.
fn encryption(heard: &[Facts], has_ca: bool, now: Timestamp) -> Vec<Finding> {
    let mut wrong = Vec::new();
    for facts in heard {
        if facts.value("ssl_cipher").is_empty() {
            let detail = format!("what is said to {} is not encrypted", facts.address);
            wrong.push(Finding::fail(TLS, detail, "switch TLS on there (require_secure_transport = ON)"));
        }
        let until = facts.value("ssl_server_not_after");
        // Where nobody checks it a certificate may be as old as it likes.
        let Some(days) = days_until(until, now).filter(|_| has_ca) else { continue };
        let advice = "renew the member's certificate";
        if days < 0 {
            let detail = format!("the certificate of {} has ended ({until})", facts.address);
            wrong.push(Finding::fail(TLS, detail, advice));
        } else if days < CERTIFICATE_DAYS_MIN {
            let detail = format!("the certificate of {} ends in {days} days ({until})", facts.address);
            wrong.push(Finding::warn(TLS, detail, advice));
        }
    }
    if !has_ca {
        let detail = "connections are encrypted, and members need not prove who they are";
        wrong.push(Finding::warn(TLS, detail, "name who signed their certificates in ledger.ca_file"));
    }
    Finding::all_well_unless(wrong, TLS, || {
        "connections are encrypted, and members prove who they are".into()
    })
}

/// Whole days until a time such as `Nov 24 14:20:54 2036 GMT`.
fn days_until(text: &str, now: Timestamp) -> Option<i64> {
    let time = jiff::fmt::strtime::parse("%b %d %H:%M:%S %Y GMT", text).ok()?;
    let then = jiff::tz::Offset::UTC.to_timestamp(time.to_datetime().ok()?).ok()?.as_millisecond();
    Some((then - now.0).div_euclid(24 * 60 * 60 * 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::examination::Verdict::{self, Fail, Ok, Warn};

    /// A member of a sound group of three, with these settings changed.
    fn member(changes: &[(&str, &str)]) -> Facts {
        let sound = [
            ("version", "8.4.3"),
            ("version_comment", "MySQL Community Server"),
            ("innodb_flush_log_at_trx_commit", "1"),
            ("sync_binlog", "1"),
            ("log_bin", "ON"),
            ("innodb_doublewrite", "ON"),
            ("read_only", "OFF"),
            ("max_connections", "400"),
            ("max_user_connections", "0"),
            ("group_replication_single_primary_mode", "ON"),
            ("group_replication_consistency", "BEFORE_ON_PRIMARY_FAILOVER"),
            ("group_replication_unreachable_majority_timeout", "5"),
            ("ssl_cipher", "TLS_AES_128_GCM_SHA256"),
            ("ssl_server_not_after", "Nov 24 14:20:54 2036 GMT"),
        ];
        let values = sound.iter().chain(changes).map(|(name, value)| ((*name).into(), (*value).into()));
        let now = Timestamp(1_795_000_000_000);
        let seat = |host: &str| (format!("id-{host}"), host.to_owned(), 3306);
        Facts {
            address: "a:3306".into(),
            clock: ClockReading { name: "a:3306".into(), asked_at: now, took: Duration::ZERO, theirs: now },
            values: values.collect(),
            isolation: "READ-COMMITTED".into(),
            group: ["a", "b", "c"].map(seat).into(),
        }
    }

    fn alone(changes: &[(&str, &str)]) -> Facts {
        Facts { group: BTreeSet::new(), ..member(changes) }
    }

    #[track_caller]
    fn assert_found(findings: &[Finding], verdict: Verdict, refuses_start: bool, says: &str) {
        let worst = findings.iter().max_by_key(|finding| finding.verdict).expect("a finding");
        assert_eq!((worst.verdict, worst.refuses_start), (verdict, refuses_start), "{worst}");
        assert!(worst.to_string().contains(says), "{says:?} is missing: {worst}");
    }

    #[test]
    fn versions_without_check_constraints_are_refused() {
        for (version, verdict, refused) in [
            ("8.0.16", Ok, false),
            ("9.7.1-commercial", Ok, false),
            ("8.0.36-28", Ok, false),
            ("8.0.15", Fail, true),
            ("5.7.44-log", Fail, true),
            ("10.11.6-MariaDB-0+deb12u1", Warn, false),
            ("unknown", Warn, false),
        ] {
            assert_found(&versions(&[member(&[("version", version)])]), verdict, refused, version);
        }
    }

    #[test]
    fn settings_that_lose_acknowledged_orders_are_refused() {
        assert_found(&durability(&[member(&[])]), Ok, false, "flushed");
        for (name, value, says) in [
            ("innodb_flush_log_at_trx_commit", "2", "set innodb_flush_log_at_trx_commit = 1"),
            ("innodb_flush_log_at_trx_commit", "0", "innodb_flush_log_at_trx_commit = 0"),
            ("sync_binlog", "0", "set sync_binlog = 1"),
            ("sync_binlog", "100", "set sync_binlog = 1"),
            ("innodb_doublewrite", "OFF", "set innodb_doublewrite = ON"),
        ] {
            assert_found(&durability(&[member(&[]), member(&[(name, value)])]), Fail, true, says);
            assert_found(&durability(&[alone(&[(name, value)])]), Fail, true, says);
            // Whoever only follows acknowledges nothing.
            assert_found(&durability(&[alone(&[(name, value), ("read_only", "ON")])]), Warn, false, says);
        }
        assert_found(
            &durability(&[member(&[("log_bin", "OFF"), ("sync_binlog", "0")])]),
            Warn,
            false,
            "binary log",
        );
        let loose = Facts { isolation: "REPEATABLE-READ".into(), ..member(&[]) };
        assert_found(&durability(&[loose]), Fail, true, "REPEATABLE-READ");
    }

    #[test]
    fn a_group_has_one_primary_that_has_all_of_the_last_ones_promises() {
        assert_found(&group(&[member(&[])], 3), Ok, false, "one primary");
        for (name, value, verdict) in [
            ("group_replication_single_primary_mode", "OFF", Fail),
            ("group_replication_consistency", "EVENTUAL", Fail),
            ("group_replication_consistency", "AFTER", Ok),
            ("group_replication_unreachable_majority_timeout", "0", Warn),
        ] {
            assert_found(&group(&[member(&[(name, value)])], 3), verdict, false, "");
        }
        assert_found(&group(&[alone(&[])], 1), Warn, false, "one database");
        assert_found(&group(&[alone(&[]), alone(&[("read_only", "ON")])], 2), Warn, false, "take");
    }

    #[test]
    fn votes_are_those_that_any_member_sees() {
        let seat = |host: &str| (format!("id-{host}"), host.to_owned(), 3306);
        let of =
            |hosts: &[&str]| Facts { group: hosts.iter().map(|host| seat(host)).collect(), ..member(&[]) };
        let verdict = |heard: &[Facts], silent: &[&str]| {
            let silent: Vec<_> = silent.iter().map(|name| ((*name).to_owned(), "gone".to_owned())).collect();
            votes(heard, &silent).map(|finding| finding.verdict)
        };
        assert_eq!(verdict(&[alone(&[])], &[]), None);
        assert_eq!(verdict(&[of(&["a", "b", "c"])], &[]), Some(Ok));
        // One was expelled: only it knows of itself.
        assert_eq!(verdict(&[of(&["a", "b"]), of(&["a", "b"]), of(&["c"])], &[]), Some(Ok));
        // It died: nobody can say that there are only two.
        assert_eq!(verdict(&[of(&["a", "b"]), of(&["a", "b"])], &["c:3306"]), Some(Warn));
        assert_eq!(verdict(&[of(&["a", "b"]), of(&["a", "b"])], &[]), Some(Fail));
        // It is known by the others.
        assert_eq!(verdict(&[of(&["a", "b", "c"])], &["c:3306"]), Some(Ok));
        let doubled = Facts {
            group: [seat("a"), ("second".into(), "a".into(), 3307), seat("b")].into(),
            ..member(&[])
        };
        assert_eq!(verdict(&[doubled], &[]), Some(Fail));
    }

    #[test]
    fn members_let_in_what_the_configuration_promises() {
        for (changes, ours, verdict, refused) in [
            (&[][..], 300, Ok, false),
            (&[], 390, Ok, false),
            (&[], 391, Warn, false),
            (&[], 401, Fail, true),
            (&[("max_connections", "151")], 300, Fail, true),
            (&[("max_user_connections", "100")], 300, Fail, true),
            (&[("max_user_connections", "300")], 300, Ok, false),
        ] {
            assert_found(&budget(&[member(changes)], ours), verdict, refused, "");
        }
    }

    #[test]
    fn certificates_are_renewed_before_they_end() {
        let now = Timestamp(1_795_000_000_000);
        for (changes, has_ca, verdict) in [
            (&[][..], true, Ok),
            (&[], false, Warn),
            (&[("ssl_cipher", "")], true, Fail),
            // 2026-11-18 is now.
            (&[("ssl_server_not_after", "Nov 17 10:00:00 2026 GMT")], true, Fail),
            (&[("ssl_server_not_after", "Dec  1 10:00:00 2026 GMT")], true, Warn),
            (&[("ssl_server_not_after", "Nov 17 10:00:00 2026 GMT")], false, Warn),
            (&[("ssl_server_not_after", "")], true, Ok),
        ] {
            assert_found(&encryption(&[member(changes)], has_ca, now), verdict, false, "");
        }
        assert_eq!(days_until("Nov 19 11:06:40 2026 GMT", now), Some(1));
        assert_eq!(days_until("soon", now), None);
    }

    #[test]
    fn a_member_that_is_away_is_no_failure_and_all_of_them_are() {
        let gone = ("b:3306".to_owned(), "gone".to_owned());
        assert_eq!(presence(2, &[]).verdict, Ok);
        assert_eq!(presence(2, std::slice::from_ref(&gone)).verdict, Warn);
        let none = presence(0, &[gone]);
        assert_eq!((none.verdict, none.refuses_start), (Fail, false));
    }
}
