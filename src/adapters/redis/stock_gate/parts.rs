//! The lines of a batch of holds, product by product: one call of a script each, products at the same time.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use crate::adapters::redis::connection::Script;
use crate::domain::{BasketLine, Hold, OrderId, ProductId};
use crate::ports::Unavailable;

use super::RedisStockGate;

/// Holds in one call of a script. Redis does nothing else meanwhile.
const PARTS_PER_CALL: usize = 256;

/// Calls on their way at once, where a call is not of a purchase.
const CALLS_AT_ONCE: usize = 128;

/// One line of one hold of a batch.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    /// Which hold of the batch, and which line of it.
    pub(super) place: (usize, usize),
    pub(super) hold: &'a Hold,
    pub(super) line: BasketLine,
    /// Whose hold it is: the hold's own saga, or that of the key's earlier attempt.
    pub(super) saga: OrderId,
}

impl<'a> Part<'a> {
    /// A line of a hold for its own saga.
    pub(super) fn own(place: usize, hold: &'a Hold, line: usize) -> Self {
        Self { place: (place, line), hold, line: hold.lines[line], saga: hold.saga }
    }
}

/// All lines of all holds.
pub(super) fn parts_of(batch: &[Hold]) -> Vec<Part<'_>> {
    let lines = |(place, hold): (usize, &'_ Hold)| (0..hold.lines.len()).map(move |line| (place, line));
    let places = batch.iter().enumerate().flat_map(lines);
    places.map(|(place, line)| Part::own(place, &batch[place], line)).collect()
}

impl RedisStockGate {
    /// Runs a script over parts, which stay in order within a product. `arguments` adds those of a part.
    /// Returns each part with its reply; of a product whose call failed, that and all later parts failed.
    pub(super) async fn each_part<'a>(
        &self,
        script: &Script,
        head: &[String],
        parts: Vec<Part<'a>>,
        arguments: impl Fn(&Part<'a>, &mut Vec<String>) + Sync,
    ) -> Vec<(Part<'a>, Result<String, Unavailable>)> {
        let mut products: BTreeMap<ProductId, Vec<Part<'a>>> = BTreeMap::new();
        for part in parts {
            products.entry(part.line.product_id).or_default().push(part);
        }
        let arguments = &arguments;
        let calls = products.into_iter().map(|(product, parts)| async move {
            let mut answered = Vec::with_capacity(parts.len());
            let mut failed = None;
            for parts in parts.chunks(PARTS_PER_CALL) {
                let replies = match &failed {
                    Some(error) => Err(Unavailable::clone(error)),
                    None => self.one_call(script, head, product, parts, arguments).await,
                };
                match replies {
                    Ok(replies) => answered.extend(parts.iter().copied().zip(replies.into_iter().map(Ok))),
                    Err(error) => {
                        answered.extend(parts.iter().map(|part| (*part, Err(error.clone()))));
                        failed = Some(error);
                    }
                }
            }
            answered
        });
        join_all(calls).await.into_iter().flatten().collect()
    }

    async fn one_call<'a>(
        &self,
        script: &Script,
        head: &[String],
        product: ProductId,
        parts: &[Part<'a>],
        arguments: &(impl Fn(&Part<'a>, &mut Vec<String>) + Sync),
    ) -> Result<Vec<String>, Unavailable> {
        let mut keys = self.keys.product(product, parts.len());
        keys.extend(parts.iter().map(|part| self.keys.ended(product, part.hold.key)));
        let mut all = head.to_vec();
        parts.iter().for_each(|part| arguments(part, &mut all));
        // What the gate is not told counts, whoever is to blame.
        self.counted(self.silent.check(product))?;
        let replies: Vec<String> = match self.run(script, &keys, &all).await {
            Ok(replies) => replies,
            Err(error) => {
                self.silent.note(product, &self.cluster, self.keys.gate(product));
                return Err(error);
            }
        };
        if replies.len() == parts.len() {
            return Ok(replies);
        }
        self.troubles.fetch_add(1, Ordering::Relaxed);
        Err(Unavailable("Redis has answered for another number of holds".to_owned()))
    }
}

/// The answers of calls, of which some are on their way at a time; in the same order.
pub(super) async fn some_at_a_time<F: Future>(mut calls: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut answers = Vec::new();
    loop {
        let some: Vec<F> = calls.by_ref().take(CALLS_AT_ONCE).collect();
        if some.is_empty() {
            return answers;
        }
        answers.extend(join_all(some).await);
    }
}
