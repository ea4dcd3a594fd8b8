//! What the mails say. Each is made of its order, which never changes in what is said here.

use std::fmt::Write as _;

use crate::domain::Order;
use crate::ports::consumer_store::{Mail, MailKind};
use crate::ports::mailer::Letter;

/// Writes a mail. `domain` stands behind the @ of its id.
pub fn write(mail: &Mail, order: &Order, to: &str, domain: &str) -> Letter {
    let (subject, beginning, ending) = match mail.kind {
        MailKind::OrderConfirmation => (
            format!("Your order {}", order.id),
            "Thank you for your order. We have reserved for you:",
            "We tell you as soon as it is on its way.",
        ),
        MailKind::ShippingNotice => (
            format!("Your order {} is on its way", order.id),
            "Your payment has arrived, and this is on its way to you:",
            "Thank you for buying with us.",
        ),
    };
    let mut text = format!("Hello,\n\n{beginning}\n\n");
    for line in order.lines.iter() {
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "  {} x {} ({}), {} each", line.quantity, line.name, line.sku, line.unit_price);
    }
    let _ = write!(text, "\nTotal: {}\nOrder: {}\n\n{ending}\n", order.total, order.id);
    Letter {
        to: to.to_owned(),
        subject,
        text,
        message_id: format!("<{}.{}@{domain}>", order.id, mail.kind),
        date: mail.created_at,
    }
}
