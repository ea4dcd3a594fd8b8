//! What was asked and what came back, in the words of the shop.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::client::Response;

/// What a request is for; it decides which answers are a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Places an order.
    Sale,
    /// Reads a product.
    View,
    /// Anything else: a login, a stock adjustment, a look at an order.
    Other,
}

/// What came back; the kinds are counted and timed apart, because a refusal is cheaper than a sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// 201: the order is confirmed.
    Sale,
    /// 202 to an order: it exists and is still being worked on.
    Pending,
    /// 409 `out-of-stock`.
    Refusal,
    /// 402: the payment was declined.
    Declined,
    /// 200 to a view.
    View,
    /// Success of a request that is neither a sale nor a view.
    Other,
    /// 503 or 429: the server refused at the door.
    Busy,
    /// Any other status, and no answer at all.
    Error,
}

impl Answer {
    /// All answers, in the order in which a report lists them.
    pub const ALL: [Self; 8] = [
        Self::Sale,
        Self::Pending,
        Self::Refusal,
        Self::Declined,
        Self::View,
        Self::Other,
        Self::Busy,
        Self::Error,
    ];

    /// The name in reports, the same as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sale => "sale",
            Self::Pending => "pending",
            Self::Refusal => "refusal",
            Self::Declined => "declined",
            Self::View => "view",
            Self::Other => "other",
            Self::Busy => "busy",
            Self::Error => "error",
        }
    }

    /// Classifies `response`, which answers a request of this `kind`.
    #[must_use]
    pub fn classify(kind: Kind, response: &Response<'_>) -> Self {
        match (kind, response.status) {
            (Kind::Sale, 201) => Self::Sale,
            (Kind::Sale, 202) => Self::Pending,
            (Kind::Sale, 402) => Self::Declined,
            // 409 also says that the price changed or that the key has expired; those are not refusals.
            (Kind::Sale, 409) if is_problem(response.body, "out-of-stock") => Self::Refusal,
            (Kind::View, 200) => Self::View,
            (Kind::Other, 200..=299) => Self::Other,
            (_, 429 | 503) => Self::Busy,
            _ => Self::Error,
        }
    }
}

/// Whether `body` is an RFC 9457 problem whose type, an absolute or relative URL, ends with `name`.
fn is_problem(body: &[u8], name: &str) -> bool {
    #[derive(Deserialize)]
    struct Problem<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    serde_json::from_slice::<Problem<'_>>(body)
        .is_ok_and(|problem| problem.kind.rsplit('/').next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(kind: Kind, status: u16, body: &str) -> Answer {
        Answer::classify(
            kind,
            &Response { status, retry_after_s: None, location: None, body: body.as_bytes() },
        )
    }

    #[test]
    fn a_sale_is_classified_by_its_status() {
        assert_eq!(classify(Kind::Sale, 201, "{}"), Answer::Sale);
        assert_eq!(classify(Kind::Sale, 202, "{}"), Answer::Pending);
        assert_eq!(classify(Kind::Sale, 402, "{}"), Answer::Declined);
        assert_eq!(classify(Kind::Sale, 503, ""), Answer::Busy);
        assert_eq!(classify(Kind::Sale, 429, ""), Answer::Busy);
        for status in [200, 204, 302, 400, 401, 404, 422, 500, 502] {
            assert_eq!(classify(Kind::Sale, status, "{}"), Answer::Error, "status {status}");
        }
    }

    #[test]
    fn a_conflict_is_a_refusal_only_when_the_stock_ran_out() {
        let refusal = r#"{"title":"Out of stock","status":409,"type":"/problems/out-of-stock","lines":[]}"#;
        assert_eq!(classify(Kind::Sale, 409, refusal), Answer::Refusal);
        assert_eq!(
            classify(Kind::Sale, 409, r#"{"type":"https://shop.example/problems/out-of-stock"}"#),
            Answer::Refusal
        );
        for other in [
            r#"{"type":"/problems/price-changed"}"#,
            r#"{"type":"/problems/not-out-of-stock"}"#,
            r#"{"detail":"/problems/out-of-stock"}"#,
            "out-of-stock",
            "",
        ] {
            assert_eq!(classify(Kind::Sale, 409, other), Answer::Error, "{other}");
        }
        assert_eq!(classify(Kind::Other, 409, refusal), Answer::Error);
    }

    #[test]
    fn views_and_other_requests_have_successes_of_their_own() {
        assert_eq!(classify(Kind::View, 200, "{}"), Answer::View);
        assert_eq!(classify(Kind::View, 201, "{}"), Answer::Error);
        assert_eq!(classify(Kind::View, 404, "{}"), Answer::Error);
        assert_eq!(classify(Kind::View, 503, ""), Answer::Busy);
        assert_eq!(classify(Kind::Other, 200, "{}"), Answer::Other);
        assert_eq!(classify(Kind::Other, 204, ""), Answer::Other);
        assert_eq!(classify(Kind::Other, 304, ""), Answer::Error);
    }

    #[test]
    fn the_name_is_the_one_in_json() {
        for answer in Answer::ALL {
            assert_eq!(serde_json::to_value(answer).unwrap(), answer.name());
        }
    }
}
