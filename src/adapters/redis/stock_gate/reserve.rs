//! Reserving holds of several products, each on its own node, with all lines or none.
//!
//! The first line of a hold, the product with the lowest id, is its *home*. Home decides whose hold a key
//! has; the other lines follow with the saga that home named. What a hold has newly taken is given back
//! where a line cannot be had, home last, so that whoever finds a line without its home may take it.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::domain::{Digest, Hold, Left, OrderId, ProductId};
use crate::ports::Unavailable;
use crate::ports::stock_gate::HoldError;

use super::packed::pack;
use super::parts::{Part, some_at_a_time};
use super::{Ending, Look, RedisStockGate};

/// What became of one line.
#[derive(Clone)]
enum Line {
    /// Not asked for, because home refused.
    Untried,
    /// Held, newly by this call.
    Taken,
    /// Held before this call.
    Open,
    /// Held by this call, and given back by it.
    GivenBack,
    Reused(OrderId),
    Sold(OrderId),
    Finished,
    NotLoaded,
    Short {
        left: i64,
        unordered: i64,
    },
    Unknown(Unavailable),
}

/// One request of the batch, as far as it has come.
struct Attempt<'a> {
    hold: &'a Hold,
    /// The saga that it goes on with.
    saga: OrderId,
    lines: Vec<Line>,
}

/// What the products of refused holds have left.
type Looks = HashMap<ProductId, Result<Option<Look>, Unavailable>>;

impl RedisStockGate {
    pub(super) async fn reserve_batch(&self, batch: &[Hold]) -> Vec<Result<OrderId, HoldError>> {
        let attempt = |hold| Attempt { hold, saga: hold.saga, lines: vec![Line::Untried; hold.lines.len()] };
        let mut attempts: Vec<_> = batch.iter().map(attempt).collect();
        self.take(&mut attempts, true).await;
        self.take(&mut attempts, false).await;
        self.give_back(&mut attempts).await;
        let looks = self.look_at_refused(&attempts).await;
        attempts.iter().map(|attempt| attempt.answer(&looks)).collect()
    }

    /// Takes the homes of all holds, or the other lines of those whose home is held.
    async fn take(&self, attempts: &mut [Attempt<'_>], home: bool) {
        let mut parts = Vec::new();
        for (place, Attempt { hold, saga, lines }) in attempts.iter().enumerate() {
            let range = match home {
                true => 0..lines.len().min(1),
                false if matches!(lines.first(), Some(Line::Taken | Line::Open)) => 1..lines.len(),
                false => 0..0,
            };
            parts.extend(range.map(|line| Part { saga: *saga, ..Part::own(place, hold, line) }));
        }
        let head = [if home { "home" } else { "line" }.to_owned()];
        let replies = self.each_part(&self.scripts.reserve, &head, parts, |part, arguments| {
            let own = u8::from(part.saga == part.hold.saga);
            let packed = pack(part.hold, part.saga, part.line.quantity, false);
            arguments.extend([format!("{:?}", part.hold.key), own.to_string(), packed]);
        });
        for (part, reply) in replies.await {
            let attempt = &mut attempts[part.place.0];
            let (line, saga) = reply.map_or_else(|error| (Line::Unknown(error), None), |text| read(&text));
            if let Some(saga) = saga.filter(|_| home) {
                attempt.saga = saga;
            }
            attempt.lines[part.place.1] = line;
        }
    }

    /// Gives back what refused holds have newly taken. Nothing is given back where a node did not answer:
    /// its line may be held, too, and the saga's own undo gives back all of it.
    async fn give_back(&self, attempts: &mut [Attempt<'_>]) {
        if attempts.iter().all(|attempt| !attempt.is_half_held()) {
            return;
        }
        // The key may be in the batch twice, and the second request has found what the first one took.
        let mut taken: HashSet<(ProductId, Digest)> = HashSet::new();
        for Attempt { hold, lines, .. } in attempts.iter() {
            let lines = hold.lines.iter().zip(lines).filter(|(_, now)| matches!(now, Line::Taken));
            taken.extend(lines.map(|(line, _)| (line.product_id, hold.key)));
        }
        for homes in [false, true] {
            let mut parts = Vec::new();
            for (place, attempt) in attempts.iter().enumerate().filter(|(_, a)| a.is_half_held()) {
                let range = if homes { 0..1 } else { 1..attempt.lines.len() };
                let lines =
                    range.map(|line| Part { saga: attempt.saga, ..Part::own(place, attempt.hold, line) });
                parts.extend(lines.filter(|part| {
                    matches!(attempt.lines[part.place.1], Line::Taken | Line::Open)
                        && taken.contains(&(part.line.product_id, part.hold.key))
                }));
            }
            for (part, reply) in self.end(parts, Ending::Undone).await {
                let line = &mut attempts[part.place.0].lines[part.place.1];
                *line = reply.map_or_else(Line::Unknown, |_| Line::GivenBack);
            }
        }
    }

    /// Looks at the lines of refused holds of which it is not known what is left.
    async fn look_at_refused(&self, attempts: &[Attempt<'_>]) -> Looks {
        let mut products = BTreeSet::new();
        for attempt in attempts.iter().filter(|attempt| attempt.wants_a_look()) {
            let lines = attempt.hold.lines.iter().zip(&attempt.lines);
            let unseen = lines.filter(|(_, now)| !matches!(now, Line::Short { .. } | Line::NotLoaded));
            products.extend(unseen.map(|(line, _)| line.product_id));
        }
        let products: Vec<ProductId> = products.into_iter().collect();
        let looks = some_at_a_time(products.iter().map(|product| self.look(*product))).await;
        products.into_iter().zip(looks).collect()
    }
}

impl Attempt<'_> {
    fn is_unknown(&self) -> bool {
        self.lines.iter().any(|line| matches!(line, Line::Unknown(_)))
    }

    /// Its home is held and another line is refused.
    fn is_half_held(&self) -> bool {
        let refused = |line: &Line| {
            matches!(
                line,
                Line::Reused(_) | Line::Sold(_) | Line::Finished | Line::NotLoaded | Line::Short { .. }
            )
        };
        matches!(self.lines.first(), Some(Line::Taken | Line::Open))
            && self.lines.iter().any(refused)
            && !self.is_unknown()
    }

    fn wants_a_look(&self) -> bool {
        let final_already = |line: &Line| matches!(line, Line::Reused(_) | Line::Sold(_) | Line::Finished);
        self.lines.iter().any(|line| matches!(line, Line::NotLoaded | Line::Short { .. }))
            && !self.lines.iter().any(final_already)
            && !self.is_unknown()
    }

    fn answer(&self, looks: &Looks) -> Result<OrderId, HoldError> {
        for line in &self.lines {
            if let Line::Unknown(error) = line {
                return Err(HoldError::Unknown(error.clone()));
            }
        }
        for line in &self.lines {
            match line {
                Line::Sold(saga) if *saga != self.hold.saga => return Err(HoldError::KeySold(*saga)),
                Line::Sold(_) | Line::Finished => return Err(HoldError::Finished),
                Line::Reused(saga) => return Err(HoldError::KeyReused(*saga)),
                _ => {}
            }
        }
        if !self.wants_a_look() {
            return Ok(self.saga);
        }
        self.refusal(looks)
    }

    /// What is left of each line, and whether that may change.
    fn refusal(&self, looks: &Looks) -> Result<OrderId, HoldError> {
        let (mut left_of_lines, mut not_loaded, mut may_return) = (Vec::new(), Vec::new(), true);
        for (line, now) in self.hold.lines.iter().zip(&self.lines) {
            let (product, requested) = (line.product_id, line.quantity.get());
            let found = match (now, looks.get(&product)) {
                (Line::Short { left, unordered }, _) => Some((*left, *unordered)),
                (Line::NotLoaded, _) => None,
                (_, Some(Ok(look))) => look.as_ref().map(|look| {
                    // Its own units, where an earlier attempt holds them, are there for it.
                    let own = if matches!(now, Line::Open) { i64::from(requested) } else { 0 };
                    (look.level.stock - look.level.reserved + own, look.unordered)
                }),
                (_, Some(Err(error))) => return Err(HoldError::Unknown(error.clone())),
                (_, None) => {
                    return Err(HoldError::Unknown(Unavailable("a line was not looked at".to_owned())));
                }
            };
            let Some((left, unordered)) = found else {
                not_loaded.push(product);
                continue;
            };
            let missing = i64::from(requested) - left;
            may_return &= missing <= 0 || unordered >= missing;
            left_of_lines.push(Left { product, requested, left: left.max(0) });
        }
        match not_loaded.is_empty() {
            false => Err(HoldError::NotLoaded(not_loaded)),
            true => Err(HoldError::SoldOut { lines: left_of_lines, may_return }),
        }
    }
}

/// Reads a reply of the script; with the saga of a hold that was open before.
fn read(reply: &str) -> (Line, Option<OrderId>) {
    let mut words = reply.split(' ');
    let (kind, first, second) = (words.next(), words.next(), words.next());
    let saga = first.and_then(|word| word.parse::<OrderId>().ok());
    let number = |word: Option<&str>| word.and_then(|word| word.parse::<i64>().ok());
    let line = match (kind, saga) {
        (Some("taken"), _) => Some(Line::Taken),
        (Some("open"), Some(saga)) => return (Line::Open, Some(saga)),
        (Some("reused"), Some(saga)) => Some(Line::Reused(saga)),
        (Some("sold"), Some(saga)) => Some(Line::Sold(saga)),
        (Some("finished"), _) => Some(Line::Finished),
        (Some("unloaded"), _) => Some(Line::NotLoaded),
        (Some("short"), _) => match (number(first), number(second)) {
            (Some(left), Some(unordered)) => Some(Line::Short { left, unordered }),
            _ => None,
        },
        _ => None,
    };
    let unreadable = || Line::Unknown(Unavailable(format!("Redis has answered {reply:?} for a hold")));
    (line.unwrap_or_else(unreadable), None)
}
