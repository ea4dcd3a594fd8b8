//! Notification: a customer is told of an order, and that it is on its way.

use crate::domain::{Event, EventBody};
use crate::ports::consumer_store::{Effects, MailKind, NewMail};

/// What events mean for the mails.
pub fn meaning(events: &[Event]) -> Effects {
    let mail = |event: &Event| {
        let (order, user, kind) = match event.body {
            EventBody::OrderCreated { order_id, user_id, .. } => {
                (order_id, user_id, MailKind::OrderConfirmation)
            }
            EventBody::OrderConfirmed { order_id, user_id, .. } => {
                (order_id, user_id, MailKind::ShippingNotice)
            }
            _ => return None,
        };
        Some(NewMail { order, kind, user, at: event.time })
    };
    Effects { mails: events.iter().filter_map(mail).collect(), ..Effects::default() }
}
