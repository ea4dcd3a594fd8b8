//! What the load asks for: products made for the measurement, bought by many customers in turn.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::auth::{Principal, Tokens};
use crate::domain::UserId;
use crate::load::{Connection, Kind, Request, RequestSource, Target};
use crate::ports::clock::{Clock as _, SystemClock};
use crate::ports::ledger::Role;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Load {
    Sales,
    Views,
    /// Four views, then a sale.
    Mixed,
}

/// Products to sell and customers to buy them.
pub struct Goods {
    /// Makes keys of this run unlike those of any other.
    run: String,
    products: Vec<i64>,
    tokens: Vec<String>,
}

impl Goods {
    /// Creates products through the shop's own API.
    pub async fn create(
        target: &Target,
        tokens: &Tokens,
        products: usize,
        stock: i64,
        users: u64,
    ) -> anyhow::Result<Arc<Self>> {
        let run = SystemClock.new_instance_id().0.simple().to_string();
        let admin = tokens.issue(Principal { user: UserId(1), role: Role::Admin });
        let mut connection =
            Connection::open(target, Duration::from_secs(10)).await.context("cannot reach the shop")?;
        let mut request = Request::new(target);
        let mut ids = Vec::with_capacity(products);
        for index in 0..products {
            let body = serde_json::json!({
                "sku": format!("bench-{run}-{index}"), "name": format!("Bench {index}"),
                "description": "Made for a measurement.", "category": "bench",
                "price": { "amount": 1_000, "currency": "EUR" }, "stock": stock,
            });
            request
                .begin("POST", "/api/v1/admin/products")
                .header("Authorization", format_args!("Bearer {admin}"))
                .json(body.to_string().as_bytes());
            let response = connection.send(request.as_bytes()).await.context("cannot reach the shop")?;
            ensure!(
                response.status == 201,
                "the shop does not create a product: status {} (is --data-dir that of the shop?)",
                response.status
            );
            let product: serde_json::Value = serde_json::from_slice(response.body)?;
            ids.push(product["id"].as_i64().context("the shop's product has no id")?);
        }
        let user = |id: u64| {
            let user = UserId(i64::try_from(id).unwrap_or(i64::MAX));
            tokens.issue(Principal { user, role: Role::Customer })
        };
        Ok(Arc::new(Self { run, products: ids, tokens: (1..=users).map(user).collect() }))
    }
}

/// The requests of one connection.
pub struct Source {
    goods: Arc<Goods>,
    load: Load,
    connection: usize,
    count: usize,
    body: Vec<u8>,
}

impl Source {
    /// The requests of connection number `connection`.
    pub fn new(goods: &Arc<Goods>, load: Load, connection: usize) -> Self {
        Self { goods: Arc::clone(goods), load, connection, count: 0, body: Vec::new() }
    }

    /// Spreads the connections over the range and walks through it.
    fn pick(&self, length: usize) -> usize {
        // A prime step visits everything, and neighbours differ.
        (self.connection * 7_919 + self.count) % length
    }
}

impl RequestSource for Source {
    fn next(&mut self, request: &mut Request) -> Option<Kind> {
        use std::io::Write as _;
        self.count += 1;
        let product = self.goods.products[self.pick(self.goods.products.len())];
        let view = match self.load {
            Load::Sales => false,
            Load::Views => true,
            Load::Mixed => !self.count.is_multiple_of(5),
        };
        if view {
            request.begin("GET", format_args!("/api/v1/products/{product}")).end();
            return Some(Kind::View);
        }
        let token = &self.goods.tokens[self.pick(self.goods.tokens.len())];
        self.body.clear();
        // Writing to a vector cannot fail.
        let _ = write!(self.body, r#"{{"lines":[{{"product_id":{product},"quantity":1}}]}}"#);
        request
            .begin("POST", "/api/v1/orders")
            .header("Authorization", format_args!("Bearer {token}"))
            .header("Idempotency-Key", format_args!("{}-{}-{}", self.goods.run, self.connection, self.count))
            .json(&self.body);
        Some(Kind::Sale)
    }
}
