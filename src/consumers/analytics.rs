//! Analytics: counts sales by minute and by product, what was taken back of them, and failures by reason.

use crate::domain::{Event, EventBody, Money, OrderStatus, SoldLine};
use crate::ports::consumer_store::{Effects, Minute, Sales, Sums};

/// What events mean for the sums.
pub fn meaning(events: &[Event]) -> Effects {
    let mut sales = Sales::default();
    for event in events {
        let minute = Minute::of(event.time);
        match &event.body {
            EventBody::OrderConfirmed { lines, total, .. } => count(&mut sales, minute, lines, *total, sold),
            EventBody::OrderCancelled { lines, total, was: OrderStatus::Confirmed, .. } => {
                count(&mut sales, minute, lines, *total, taken_back);
            }
            EventBody::OrderFailed { reason, .. } => {
                *sales.failures.entry((minute, *reason)).or_default() += 1;
            }
            _ => {}
        }
    }
    Effects { sales, ..Effects::default() }
}

fn sold(units: i64, minor: i64) -> Sums {
    Sums { sales: 1, units, revenue_minor: minor, ..Sums::default() }
}

fn taken_back(units: i64, minor: i64) -> Sums {
    Sums { cancelled_sales: 1, cancelled_units: units, cancelled_minor: minor, ..Sums::default() }
}

fn count(sales: &mut Sales, minute: Minute, lines: &[SoldLine], total: Money, sums: fn(i64, i64) -> Sums) {
    let units = lines.iter().map(|line| i64::from(line.quantity.get())).sum();
    *sales.by_minute.entry((minute, total.currency)).or_default() += sums(units, total.minor);
    for line in lines {
        let units = i64::from(line.quantity.get());
        let minor = line.unit_price.minor.saturating_mul(units);
        *sales.by_product.entry((line.product_id, total.currency)).or_default() += sums(units, minor);
    }
}
