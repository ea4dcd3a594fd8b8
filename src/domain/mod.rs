//! What a shop is made of, as plain data: no I/O, no async, no clock.
//!
//! Everything that comes from outside is checked here once, on the way in; the rest of the
//! program works with values that cannot be wrong (a [`Quantity`] is never zero, a
//! [`Money`] always has a currency, a [`Basket`] never lists one product twice).

pub mod cloud_event;
pub mod event;
pub mod hold;
pub mod ids;
pub mod money;
pub mod order;
pub mod product;
pub mod saga;
pub mod time;
pub mod trace;

pub use event::{Event, EventBody, SoldLine, Topic};
pub use hold::{Hold, Shelf, StockChange};
pub use ids::{Digest, Driver, InstanceId, OrderId, ProductId, UserId};
pub use money::{Currency, Money, MoneyError};
pub use order::{Basket, BasketError, BasketLine, Order, OrderLine, OrderStatus, Quantity, Reason};
pub use product::{Left, NewProduct, Product, ProductChange, StockLevel, StockReason};
pub use saga::{
    Capture, Ending, Next, NextAction, Outcome, PaymentToken, Phase, Purchase, Refusal, Saga, StepName,
    Tries, next_look,
};
pub use time::Timestamp;
pub use trace::{Sampling, TraceContext};
