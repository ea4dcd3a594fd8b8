//! What several pages of the administration need: orders in a list, why they failed, what was wrong.

use crate::domain::{Order, Reason};
use crate::http::problem::Problem;
use crate::http::web::orders::{Row, reason_word};
use crate::http::web::texts::Language;
use crate::http::web::visit::Visit;

/// An order in a list, with whose it is.
pub struct OrderRow {
    pub order: Row,
    pub user: i64,
}

impl OrderRow {
    pub fn of(language: Language, order: &Order) -> Self {
        Self { order: Row::of(language, order, format!("/admin/orders/{}", order.id)), user: order.user_id.0 }
    }
}

/// Why an order failed or was taken back, as whoever looks after the shop sees it.
pub fn why(language: Language, reason: Reason) -> String {
    language.text(&format!("why-{}", reason_word(reason)))
}

/// What is wrong with what an administrator has sent, with what exactly it is about.
pub fn explained(visit: &Visit, problem: &Problem) -> String {
    let key = match problem.slug() {
        "out-of-stock" => "problem-too-few-units".to_owned(),
        "idempotency-key-reused" | "idempotency-key-missing" => "problem-old-form".to_owned(),
        // Told to shoppers in the same words.
        slug => format!("problem-{slug}"),
    };
    let text = visit.language.text(&key);
    match problem.pointer() {
        Some(pointer) => format!("{text} ({} {})", pointer.trim_start_matches('/'), problem.detail()),
        None => format!("{text} ({})", problem.detail()),
    }
}
