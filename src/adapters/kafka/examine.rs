//! Whether Kafka keeps what it was given, and who elects in it: for `holdfast doctor` and the start of a server.
//!
//! Kafka tells nobody what time it is; its clocks are of no consequence to the shop.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::metadata::MetadataTopic;

use crate::ports::Unavailable;
use crate::ports::examination::{Finding, Vote, quorum};

use super::{PARTITIONS, Settings};

const ANSWERS: &str = "event log brokers";
const MODE: &str = "event log mode";
const QUORUM: &str = "event log quorum";
const TOPICS: &str = "event log topics";

/// What a broker or a topic is set to.
type Values = BTreeMap<String, String>;

/// A topic as it is.
struct Facts {
    name: String,
    partitions: usize,
    /// Brokers that keep a copy of the partition with fewest.
    copies: usize,
    values: Values,
}

/// What the brokers have said.
struct Cluster {
    /// Address of each broker.
    brokers: Vec<String>,
    /// Settings of those that have answered.
    settings: Vec<Values>,
    /// Those of our topics that exist.
    topics: Vec<Facts>,
}

/// Asks the brokers and judges what they say. Each of two questions, one after the other, takes at most half of
/// `patience`.
pub async fn examine(settings: &Settings, patience: Duration) -> Vec<Finding> {
    match question(settings, patience / 2).await {
        Ok(cluster) => judged(&cluster, settings),
        Err(error) => {
            let advice = "start the brokers, or look at events.url; events wait in the ledger meanwhile";
            vec![Finding::fail(ANSWERS, format!("none answers ({error})"), advice)]
        }
    }
}

async fn question(settings: &Settings, patience: Duration) -> Result<Cluster, Unavailable> {
    let client: AdminClient<DefaultClientContext> = settings.client().create()?;
    // All topics, because asking for one that is not there may make it.
    let ask = move || client.inner().fetch_metadata(None, patience).map(|metadata| (client, metadata));
    let asked = tokio::task::spawn_blocking(ask).await;
    let (client, metadata) = asked.map_err(|error| Unavailable(error.to_string()))??;
    let options = AdminOptions::new().request_timeout(Some(patience));
    // One request each: a broker that is away must not keep the others from answering.
    let described = async |what: ResourceSpecifier<'_>| -> Option<Values> {
        let answers = client.describe_configs([&what], &options).await.ok()?;
        answers.into_iter().next()?.ok().map(values_of)
    };
    let brokers = metadata.brokers().iter();
    let of_brokers = join_all(brokers.map(|broker| described(ResourceSpecifier::Broker(broker.id()))));
    let names = settings.topics();
    let is_ours = |topic: &&MetadataTopic| names.iter().any(|name| name == topic.name());
    let ours: Vec<_> = metadata.topics().iter().filter(is_ours).collect();
    let of_topics = join_all(ours.iter().map(|topic| described(ResourceSpecifier::Topic(topic.name()))));
    let (of_brokers, of_topics) = tokio::join!(of_brokers, of_topics);
    let facts = |(topic, values): (_, Option<Values>)| {
        let topic: &&MetadataTopic = topic;
        let copies = topic.partitions().iter().map(|partition| partition.replicas().len()).min();
        Facts {
            name: topic.name().to_owned(),
            partitions: topic.partitions().len(),
            copies: copies.unwrap_or_default(),
            values: values.unwrap_or_default(),
        }
    };
    Ok(Cluster {
        brokers: metadata
            .brokers()
            .iter()
            .map(|broker| format!("{}:{}", broker.host(), broker.port()))
            .collect(),
        settings: of_brokers.into_iter().flatten().collect(),
        topics: ours.iter().zip(of_topics).map(facts).collect(),
    })
}

fn values_of(resource: ConfigResource) -> Values {
    resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect()
}

fn judged(cluster: &Cluster, settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![brokers(cluster, settings.replication)];
    findings.extend(mode(cluster));
    findings.extend(controllers(cluster));
    findings.extend(topics(cluster, settings));
    findings
}

fn brokers(cluster: &Cluster, replication: i32) -> Finding {
    let (count, names) = (cluster.brokers.len(), cluster.brokers.join(", "));
    if usize::try_from(replication).is_ok_and(|copies| copies > count) {
        let detail = format!("{count} ({names}), and events.replication is {replication}");
        let advice = "start what is away, add brokers, or lower events.replication before topics are made";
        return Finding::warn(ANSWERS, detail, advice);
    }
    Finding::ok(ANSWERS, format!("{count} answer ({names}); we send with acks=all, idempotently"))
}

fn mode(cluster: &Cluster) -> Option<Finding> {
    let roles: BTreeSet<_> =
        cluster.settings.iter().map(|values| values.get("process.roles").map_or("", |roles| roles)).collect();
    if roles.is_empty() {
        return None;
    }
    Some(if roles.contains("") {
        Finding::warn(MODE, "a broker has ZooKeeper decide", "move to KRaft: that is what was tested")
    } else {
        Finding::ok(MODE, "KRaft")
    })
}

/// The controllers as the brokers have them in their settings.
fn controllers(cluster: &Cluster) -> Option<Finding> {
    let listed: BTreeSet<Vote> = cluster
        .settings
        .iter()
        .filter_map(|values| values.get("controller.quorum.voters"))
        .flat_map(|voters| voters.split(',').filter_map(vote_of))
        .collect();
    if cluster.settings.is_empty() {
        return None;
    }
    Some(if listed.is_empty() {
        let detail = "the brokers do not list their controllers";
        Finding::warn(QUORUM, detail, "look at them with kafka-metadata-quorum.sh describe --status")
    } else {
        quorum(QUORUM, &listed.into_iter().collect::<Vec<_>>(), 0)
    })
}

/// Reads `ID@HOST:PORT`.
fn vote_of(voter: &str) -> Option<Vote> {
    let (_, address) = voter.trim().split_once('@')?;
    let (host, _) = address.rsplit_once(':')?;
    Some(Vote { name: address.to_owned(), host: host.trim_matches(['[', ']']).to_owned() })
}

fn topics(cluster: &Cluster, settings: &Settings) -> Vec<Finding> {
    let wanted = usize::try_from(settings.replication).unwrap_or_default();
    let mut wrong = Vec::new();
    for topic in &cluster.topics {
        let value = |name| topic.values.get(name).map_or("", |value| value);
        let name = &topic.name;
        if value("unclean.leader.election.enable") == "true" {
            let detail = format!("{name} may be led by a broker that lacks what was kept");
            wrong.push(Finding::fail(TOPICS, detail, "set unclean.leader.election.enable=false"));
        }
        if topic.copies < wanted {
            let detail = format!("{name} has {} copies, events.replication is {wanted}", topic.copies);
            wrong.push(Finding::fail(TOPICS, detail, "add copies with kafka-reassign-partitions.sh"));
        } else if topic.copies == 1 {
            let detail = format!("{name} has one copy: it is lost with its broker");
            let advice = "set events.replication = 2 and add copies; holdfast events publish sends all again";
            wrong.push(Finding::warn(TOPICS, detail, advice));
        }
        let in_step: usize = value("min.insync.replicas").parse().unwrap_or_default();
        if in_step > topic.copies {
            let detail = format!("{name} wants {in_step} copies in step and has {}", topic.copies);
            wrong.push(Finding::fail(TOPICS, detail, "lower min.insync.replicas: nothing can be sent"));
        } else if in_step == topic.copies && topic.copies > 1 {
            let detail =
                format!("{name} takes nothing while a broker is away (min.insync.replicas={in_step})");
            let advice = "lower it by one, or keep it and let events wait in the ledger";
            wrong.push(Finding::warn(TOPICS, detail, advice));
        }
        if i32::try_from(topic.partitions).ok() != Some(PARTITIONS) {
            let detail = format!("{name} has {} partitions", topic.partitions);
            wrong.push(Finding::warn(TOPICS, detail, format!("{PARTITIONS} is what was tested")));
        }
    }
    Finding::all_well_unless(wrong, TOPICS, || match settings.topics().len() - cluster.topics.len() {
        0 => format!("{} copies each, and only a broker that was in step may lead", wanted.max(1)),
        missing => format!("{missing} are missing; a server makes them when it starts"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::examination::Verdict::{self, Fail, Ok, Warn};

    fn settings(replication: i32) -> Settings {
        Settings::parse("kafka://a:1,b:1", "", replication).expect("a URL")
    }

    fn values(list: &[(&str, &str)]) -> Values {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Two brokers with three controllers, and every topic with `copies` and these settings.
    fn cluster(copies: usize, changes: &[(&str, &str)]) -> Cluster {
        let sound = [("unclean.leader.election.enable", "false"), ("min.insync.replicas", "1")];
        let of_topic = values(&[&sound[..], changes].concat());
        let topic = |name| Facts { name, partitions: 3, copies, values: of_topic.clone() };
        let broker = [("process.roles", "broker"), ("controller.quorum.voters", "1@a:9,2@b:9,3@[::2]:9")];
        Cluster {
            brokers: vec!["a:1".into(), "b:1".into()],
            settings: vec![values(&broker); 2],
            topics: settings(2).topics().into_iter().map(topic).collect(),
        }
    }

    fn worst(findings: impl IntoIterator<Item = Finding>) -> Verdict {
        findings.into_iter().map(|finding| finding.verdict).max().expect("a finding")
    }

    #[test]
    fn topics_keep_what_they_were_given() {
        for (copies, changes, replication, verdict) in [
            (2, &[][..], 2, Ok),
            (3, &[("min.insync.replicas", "2")], 3, Ok),
            (2, &[("unclean.leader.election.enable", "true")], 2, Fail),
            (1, &[], 2, Fail),
            (1, &[], 1, Warn),
            (2, &[("min.insync.replicas", "2")], 2, Warn),
            (2, &[("min.insync.replicas", "3")], 2, Fail),
        ] {
            let findings = topics(&cluster(copies, changes), &settings(replication));
            assert!(findings.iter().all(|finding| !finding.refuses_start), "events wait in the ledger");
            assert_eq!(worst(findings), verdict, "{copies} {changes:?} {replication}");
        }
        let mut other = cluster(2, &[]);
        other.topics[0].partitions = 1;
        assert_eq!(worst(topics(&other, &settings(2))), Warn);
        other.topics.clear();
        let missing = topics(&other, &settings(2));
        assert!(missing[0].detail.contains("a server makes them"), "{}", missing[0]);
    }

    #[test]
    fn controllers_are_counted_where_they_are_listed() {
        let of = |voters: &str| {
            let broker = values(&[("process.roles", "broker"), ("controller.quorum.voters", voters)]);
            controllers(&Cluster { settings: vec![broker], ..cluster(2, &[]) }).map(|finding| finding.verdict)
        };
        assert_eq!(controllers(&cluster(2, &[])).map(|finding| finding.verdict), Some(Ok));
        assert_eq!(of("1@a:9,2@b:9"), Some(Fail));
        assert_eq!(of("1@a:9,2@b:9,3@b:10"), Some(Fail));
        assert_eq!(of("1@127.0.0.1:9,2@127.0.0.1:10,3@127.0.0.1:11"), Some(Warn));
        assert_eq!(of(""), Some(Warn));
        assert_eq!(controllers(&Cluster { settings: Vec::new(), ..cluster(2, &[]) }), None);
    }

    #[test]
    fn brokers_of_another_kind_are_named() {
        assert_eq!(mode(&cluster(2, &[])).map(|finding| finding.verdict), Some(Ok));
        let old = Cluster { settings: vec![values(&[])], ..cluster(2, &[]) };
        assert_eq!(mode(&old).map(|finding| finding.verdict), Some(Warn));
        assert_eq!(brokers(&cluster(2, &[]), 2).verdict, Ok);
        assert_eq!(brokers(&cluster(2, &[]), 3).verdict, Warn);
    }
}
