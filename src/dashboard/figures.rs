//! What a server has counted, read from what it shows Prometheus: so the dashboard never says anything else.

use crate::domain::Reason;
use crate::http::measure::DURATION;
use crate::ports::live::Figures;
use crate::telemetry::metrics::SECONDS as BUCKETS;

/// Routes on which people buy, and those on which they look.
const PURCHASES: [&str; 2] = ["/api/v1/orders", "/checkout"];
const VIEWS: [&str; 4] = ["/", "/products/{id}", "/api/v1/products", "/api/v1/products/{id}"];

impl Figures {
    /// Reads the text format of Prometheus.
    pub fn read(exposition: &str) -> Self {
        let mut figures = Self { answered_within: vec![0; BUCKETS.len() + 1], ..Self::default() };
        for line in exposition.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            // Comments end in words.
            if let Ok(value) = value.parse::<f64>() {
                figures.take_in(name, labels, value as u64);
            }
        }
        figures
    }

    fn take_in(&mut self, name: &str, labels: &str, value: u64) {
        match name {
            "holdfast_sagas_total" => match (label(labels, "result"), label(labels, "reason").parse()) {
                ("confirmed", _) => self.sales += value,
                ("refused", Ok(Reason::InsufficientStock)) => self.sold_out += value,
                ("undone", Ok(Reason::PaymentDeclined)) => self.declined += value,
                ("undone", Ok(Reason::CancelledByCustomer)) => {}
                ("undone", _) => self.failed += value,
                _ => {}
            },
            "holdfast_sold_units_total" => self.units += value,
            "holdfast_cache_requests_total" => {
                // Every look begins in the process's own cache; whichever layer has it answers.
                if label(labels, "layer") == "process" {
                    self.looks += value;
                }
                if label(labels, "result") == "hit" {
                    self.cache_hits += value;
                }
            }
            _ => {
                if let Some(part) = name.strip_prefix(DURATION) {
                    self.take_in_requests(part, labels, value);
                }
            }
        }
    }

    fn take_in_requests(&mut self, part: &str, labels: &str, value: u64) {
        let (route, method) = (label(labels, "route"), label(labels, "method"));
        match part {
            "_count" if method == "GET" && VIEWS.contains(&route) => self.views += value,
            "_count"
                if method == "POST" && PURCHASES.contains(&route) && label(labels, "status") == "503" =>
            {
                self.busy += value;
            }
            "_bucket" if method == "POST" && PURCHASES.contains(&route) => {
                let bound = label(labels, "le").parse().unwrap_or(f64::INFINITY);
                let bucket = BUCKETS.iter().position(|known| *known == bound).unwrap_or(BUCKETS.len());
                self.answered_within[bucket] += value;
            }
            _ => {}
        }
    }

    /// What has come since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let before_within = |bucket: usize| before.answered_within.get(bucket).copied().unwrap_or_default();
        let within = self.answered_within.iter().enumerate();
        Self {
            sales: self.sales.saturating_sub(before.sales),
            units: self.units.saturating_sub(before.units),
            sold_out: self.sold_out.saturating_sub(before.sold_out),
            declined: self.declined.saturating_sub(before.declined),
            failed: self.failed.saturating_sub(before.failed),
            busy: self.busy.saturating_sub(before.busy),
            views: self.views.saturating_sub(before.views),
            looks: self.looks.saturating_sub(before.looks),
            cache_hits: self.cache_hits.saturating_sub(before.cache_hits),
            answered_within: within.map(|(at, now)| now.saturating_sub(before_within(at))).collect(),
        }
    }

    /// Adds another server's, or another second's.
    pub fn add(&mut self, other: &Self) {
        self.sales += other.sales;
        self.units += other.units;
        self.sold_out += other.sold_out;
        self.declined += other.declined;
        self.failed += other.failed;
        self.busy += other.busy;
        self.views += other.views;
        self.looks += other.looks;
        self.cache_hits += other.cache_hits;
        self.answered_within.resize(BUCKETS.len() + 1, 0);
        for (sum, more) in self.answered_within.iter_mut().zip(&other.answered_within) {
            *sum += more;
        }
    }

    /// Milliseconds within which this part of purchases was answered, as near as the buckets tell; `None` without any.
    pub fn quantile_ms(&self, part: f64) -> Option<f64> {
        let all = *self.answered_within.last()?;
        let rank = part * all as f64;
        let bucket = self.answered_within.iter().position(|within| *within > 0 && *within as f64 >= rank)?;
        let below = |values: &dyn Fn(usize) -> f64| bucket.checked_sub(1).map_or(0.0, values);
        let (low, low_count) = (below(&|at| BUCKETS[at]), below(&|at| self.answered_within[at] as f64));
        // Of those beyond the last bound no more is known.
        let high = *BUCKETS.get(bucket).unwrap_or(&BUCKETS[BUCKETS.len() - 1]);
        let share = (rank - low_count) / (self.answered_within[bucket] as f64 - low_count);
        Some((low.min(high) + (high - low.min(high)) * share) * 1_000.0)
    }
}

/// What a label says, empty where it is not there.
fn label<'a>(labels: &'a str, name: &str) -> &'a str {
    let begins = |at: usize| labels[..at].is_empty() || labels[..at].ends_with(',');
    let place = labels
        .match_indices(name)
        .map(|(at, _)| at)
        .find(|at| begins(*at) && labels[at + name.len()..].starts_with("=\""));
    let value = place.map(|at| &labels[at + name.len() + 2..]).unwrap_or_default();
    value.split('"').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPOSITION: &str = r#"# TYPE holdfast_sagas_total counter
holdfast_sagas_total{result="confirmed",reason=""} 90
holdfast_sagas_total{result="refused",reason="INSUFFICIENT_STOCK"} 7
holdfast_sagas_total{result="refused",reason="PRICE_CHANGED"} 3
holdfast_sagas_total{result="undone",reason="PAYMENT_DECLINED"} 5
holdfast_sagas_total{result="undone",reason="CANCELLED_BY_CUSTOMER"} 4
holdfast_sagas_total{result="undone",reason="PAYMENT_UNKNOWN"} 2
holdfast_sold_units_total 120

holdfast_cache_requests_total{layer="process",result="hit"} 40
holdfast_cache_requests_total{layer="process",result="miss"} 10
holdfast_cache_requests_total{layer="shared",result="hit"} 7
holdfast_cache_requests_total{layer="shared",result="miss"} 3
holdfast_http_request_duration_seconds_bucket{route="/api/v1/orders",method="POST",status="201",le="0.001"} 50
holdfast_http_request_duration_seconds_bucket{route="/api/v1/orders",method="POST",status="201",le="0.002"} 90
holdfast_http_request_duration_seconds_bucket{route="/api/v1/orders",method="POST",status="201",le="+Inf"} 90
holdfast_http_request_duration_seconds_bucket{route="/checkout",method="POST",status="303",le="0.002"} 10
holdfast_http_request_duration_seconds_bucket{route="/checkout",method="POST",status="303",le="+Inf"} 10
holdfast_http_request_duration_seconds_count{route="/api/v1/orders",method="POST",status="503"} 6
holdfast_http_request_duration_seconds_count{route="/products/{id}",method="GET",status="200"} 33
holdfast_http_request_duration_seconds_count{route="/healthz",method="GET",status="200"} 1000
"#;

    #[test]
    fn what_prometheus_is_told_is_what_administrators_see() {
        let figures = Figures::read(EXPOSITION);
        assert_eq!((figures.sales, figures.units), (90, 120));
        assert_eq!((figures.sold_out, figures.declined, figures.failed, figures.busy), (7, 5, 2, 6));
        assert_eq!((figures.views, figures.looks, figures.cache_hits), (33, 50, 47));
        assert_eq!((figures.answered_within[1], figures.answered_within[2]), (50, 100));
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let figures = Figures::read(EXPOSITION);
        assert_eq!(figures.quantile_ms(0.5), Some(1.0));
        assert_eq!(figures.quantile_ms(0.75), Some(1.5));
        assert_eq!(Figures::default().quantile_ms(0.5), None);
        let slow = Figures { answered_within: [vec![0; BUCKETS.len()], vec![4]].concat(), ..figures };
        assert_eq!(slow.quantile_ms(0.5), Some(5_000.0));
    }
}
