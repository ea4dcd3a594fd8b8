//! Coordination: watches sagas by their events, and reports those that have stopped or say something else than
//! the ledger. It drives none.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{Event, EventBody, OrderId, OrderStatus, Timestamp};
use crate::ports::Unavailable;
use crate::ports::consumer_store::{ConsumerStore, Effects, Finding, FindingKind, Heard, Watched};
use crate::ports::ledger::{Ledger, OrderStanding};

/// A saga is compared with the ledger when nothing was heard of it for so long.
const SETTLED: Duration = Duration::from_secs(10);

/// Sagas compared in one go.
const BATCH: usize = 500;

/// What events mean for the watch.
pub fn meaning(events: &[Event]) -> Effects {
    let mut heard: BTreeMap<OrderId, Heard> = BTreeMap::new();
    for event in events {
        let nothing = Heard { saga: event.saga_id, seen: 0, last: 0, ending: None };
        let of_saga = heard.entry(event.saga_id).or_insert(nothing);
        of_saga.seen += 1;
        if event.sequence > of_saga.last {
            of_saga.last = event.sequence;
            of_saga.ending = ending(&event.body);
        }
    }
    Effects { heard: heard.into_values().collect(), ..Effects::default() }
}

/// The status in which an event leaves the order for good, but for a cancel.
fn ending(body: &EventBody) -> Option<OrderStatus> {
    match body {
        EventBody::OrderConfirmed { .. } => Some(OrderStatus::Confirmed),
        EventBody::OrderCancelled { .. } => Some(OrderStatus::Cancelled),
        EventBody::OrderFailed { .. } => Some(OrderStatus::Failed),
        _ => None,
    }
}

/// How long nothing may be heard of a saga.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub stopped_after: Duration,
    /// The same for one that waits for its customer.
    pub customer_within: Duration,
}

/// What is known to be wrong already: each of it is told once.
pub type Known = HashSet<(OrderId, FindingKind)>;

/// Compares sagas that were not heard of for a while with the ledger; returns how many were looked at.
///
/// # Errors
/// The ledger or the store does not answer.
pub async fn compare(
    store: &Arc<dyn ConsumerStore>,
    ledger: &Arc<dyn Ledger>,
    now: Timestamp,
    patience: Patience,
    known: &mut Known,
) -> Result<usize, Unavailable> {
    let watched = store.watched(now.minus(SETTLED), BATCH).await?;
    if watched.is_empty() {
        metrics::gauge!("holdfast_saga_findings").set(0.0);
        known.clear();
        return Ok(0);
    }
    let ids: Vec<OrderId> = watched.iter().map(|watched| watched.heard.saga).collect();
    let standings = ledger.standings(&ids).await?;
    let (mut ended, mut wrong) = (Vec::new(), Vec::new());
    for (watched, standing) in watched.iter().zip(standings) {
        match judge(watched, standing, now, patience.stopped_after) {
            Verdict::Fine => ended.push(*watched),
            Verdict::Wait => {}
            Verdict::Wrong(kind, detail) => {
                let finding = Finding { saga_id: watched.heard.saga, kind, detail, found_at: now };
                wrong.push((watched.heard_at, finding));
            }
        }
    }
    let suspects: Vec<OrderId> = wrong.iter().map(|(_, finding)| finding.saga_id).collect();
    let waiting = if suspects.is_empty() { HashMap::new() } else { ledger.next_actions(&suspects).await? };
    let may_be_silent_since = now.minus(patience.stopped_after + patience.customer_within);
    wrong.retain(|(heard_at, finding)| {
        !waiting.contains_key(&finding.saga_id) || *heard_at <= may_be_silent_since
    });
    let findings: Vec<Finding> = wrong.into_iter().map(|(_, finding)| finding).collect();
    metrics::gauge!("holdfast_saga_findings").set(findings.len() as f64);
    let before = std::mem::take(known);
    for Finding { saga_id, kind, detail, .. } in &findings {
        known.insert((*saga_id, *kind));
        if !before.contains(&(*saga_id, *kind)) {
            tracing::warn!(%saga_id, kind = kind.as_str(), detail, "the events of a saga are not as they should be");
        }
    }
    store.settle_watched(ended, findings).await?;
    Ok(watched.len())
}

#[derive(PartialEq, Eq, Debug)]
enum Verdict {
    /// Ended, and the ledger says so, too.
    Fine,
    /// On its way.
    Wait,
    Wrong(FindingKind, String),
}

fn judge(
    watched: &Watched,
    standing: Option<OrderStanding>,
    now: Timestamp,
    stopped_after: Duration,
) -> Verdict {
    let Heard { seen, last, ending, .. } = watched.heard;
    let patient = watched.heard_at > now.minus(stopped_after);
    let Some(standing) = standing else {
        // A replica may be behind.
        return if patient {
            Verdict::Wait
        } else {
            Verdict::Wrong(FindingKind::Contradiction, "the ledger has no such order".into())
        };
    };
    // A watch that ended with the sale begins again with the cancel.
    let has_all = seen == last || seen + watched.sale_heard_to == last;
    let complete = has_all && last == standing.event_count;
    if complete && ending == Some(standing.status) {
        return Verdict::Fine;
    }
    if patient {
        return Verdict::Wait;
    }
    // What the ledger has beyond the events may be on its way: the event log was away, or still is.
    let is_behind = last < standing.event_count;
    let stands_still = complete && ending.is_none() && standing.status == OrderStatus::Pending;
    if has_all && (is_behind || stands_still) {
        let of = standing.event_count;
        return Verdict::Wrong(
            FindingKind::Stopped,
            format!("nothing was heard of it since event {last} of {of}"),
        );
    }
    let told = ending.map_or("no ending", OrderStatus::as_str);
    Verdict::Wrong(
        FindingKind::Contradiction,
        format!(
            "{seen} events up to number {last} tell {told}; the ledger has {} events and {}",
            standing.event_count,
            standing.status.as_str()
        ),
    )
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn verdict(
        seen: u32,
        last: u32,
        ending: Option<OrderStatus>,
        standing: Option<(OrderStatus, u32)>,
    ) -> Verdict {
        let heard = Heard { saga: OrderId(Uuid::nil()), seen, last, ending };
        let watched = Watched { heard, sale_heard_to: last.min(5), heard_at: Timestamp(0) };
        let standing = standing.map(|(status, event_count)| OrderStanding { status, event_count });
        judge(&watched, standing, Timestamp(0).plus(PATIENCE), PATIENCE)
    }

    fn kind(verdict: Verdict) -> Option<FindingKind> {
        match verdict {
            Verdict::Wrong(kind, _) => Some(kind),
            Verdict::Fine | Verdict::Wait => None,
        }
    }

    #[test]
    fn a_cancel_after_the_sale_was_settled_is_fine_when_nothing_is_missing() {
        let cancelled = Some(OrderStatus::Cancelled);
        let standing = Some((OrderStatus::Cancelled, 8));
        assert_eq!(verdict(3, 8, cancelled, standing), Verdict::Fine);
        assert_eq!(verdict(8, 8, cancelled, standing), Verdict::Fine);
        assert_eq!(kind(verdict(2, 8, cancelled, standing)), Some(FindingKind::Contradiction));
    }

    #[test]
    fn what_has_ended_as_the_ledger_says_is_fine() {
        let (confirmed, pending) = (OrderStatus::Confirmed, OrderStatus::Pending);
        assert_eq!(verdict(5, 5, Some(confirmed), Some((confirmed, 5))), Verdict::Fine);
        assert_eq!(
            kind(verdict(4, 5, Some(confirmed), Some((confirmed, 5)))),
            Some(FindingKind::Contradiction)
        );
        assert_eq!(
            kind(verdict(5, 5, Some(confirmed), Some((confirmed, 4)))),
            Some(FindingKind::Contradiction)
        );
        assert_eq!(kind(verdict(5, 5, None, Some((confirmed, 5)))), Some(FindingKind::Contradiction));
        assert_eq!(kind(verdict(5, 5, Some(confirmed), Some((confirmed, 8)))), Some(FindingKind::Stopped));
        assert_eq!(kind(verdict(3, 3, None, Some((confirmed, 5)))), Some(FindingKind::Stopped));
        assert_eq!(
            kind(verdict(5, 5, Some(confirmed), Some((pending, 5)))),
            Some(FindingKind::Contradiction)
        );
        assert_eq!(kind(verdict(5, 5, Some(confirmed), None)), Some(FindingKind::Contradiction));
        assert_eq!(kind(verdict(3, 3, None, Some((pending, 3)))), Some(FindingKind::Stopped));
    }
}
