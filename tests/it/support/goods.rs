//! Products, baskets and purchases as tests need them.

use std::time::Duration;

use holdfast::domain::{
    Basket, Currency, Digest, Driver, InstanceId, Money, NewProduct, OrderId, PaymentToken, ProductId,
    Purchase, Timestamp, UserId,
};
use holdfast::ports::clock::{Clock as _, SystemClock};
use holdfast::ports::ledger::Ledger;
use uuid::Uuid;

/// What a unit costs unless a test says otherwise.
pub const PRICE: Money = euro(250);

pub const fn euro(minor: i64) -> Money {
    Money { minor, currency: Currency::EUR }
}

pub fn now() -> Timestamp {
    SystemClock.now()
}

pub fn new_order_id() -> OrderId {
    SystemClock.new_order_id()
}

/// The driver of epoch 1 of some instance.
pub fn driver(instance: u128) -> Driver {
    Driver { instance: InstanceId(Uuid::from_u128(instance)), epoch: 1 }
}

pub fn new_product(sku: &str, stock: i64, price: Money) -> NewProduct {
    NewProduct {
        sku: sku.to_owned(),
        name: format!("Name of {sku}"),
        description: format!("Description of {sku}"),
        category: "things".to_owned(),
        price,
        stock,
    }
}

/// Creates a product for each number of units.
pub async fn stock(ledger: &dyn Ledger, units: &[i64]) -> Vec<ProductId> {
    let products = units.iter().enumerate().map(|(n, units)| new_product(&format!("sku-{n}"), *units, PRICE));
    let created = ledger.create_products(products.collect(), now()).await.expect("products are created");
    created.into_iter().map(|product| product.id).collect()
}

pub fn basket(lines: &[(ProductId, i64)]) -> Basket {
    Basket::new(lines.iter().copied(), 100, 1_000_000).expect("a basket")
}

pub fn key_of(user: i64, key: &str) -> Digest {
    Digest::of(&[&user.to_le_bytes(), key.as_bytes()])
}

/// A purchase without wishes about total or payment.
pub fn purchase(user: i64, key: &str, lines: &[(ProductId, i64)]) -> Purchase {
    let at = now();
    let body: Vec<u8> =
        lines.iter().flat_map(|(product, units)| [product.0, *units]).flat_map(i64::to_le_bytes).collect();
    Purchase {
        user_id: UserId(user),
        key: key_of(user, key),
        body: Digest::of(&[&body]),
        basket: basket(lines),
        expected_total: None,
        payment_token: None,
        at,
        deadline: at.plus(Duration::from_secs(30)),
    }
}

/// The same purchase paid with a test token.
pub fn paid_with(token: &str, purchase: Purchase) -> Purchase {
    Purchase { payment_token: Some(PaymentToken(token.into())), ..purchase }
}
