//! Orders and the baskets they are made from.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ids::{OrderId, ProductId, UserId};
use super::money::{Money, MoneyError};
use super::time::Timestamp;

/// A number of units, at least one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = u32)]
pub struct Quantity(NonZeroU32);

impl Quantity {
    /// `units`, unless that is zero.
    pub fn new(units: u32) -> Option<Self> {
        NonZeroU32::new(units).map(Self)
    }

    /// The number of units.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One product of a basket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
pub struct BasketLine {
    pub product_id: ProductId,
    pub quantity: Quantity,
}

/// What a customer wants: one line a product, in id order. All of it or nothing is sold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Basket(Arc<[BasketLine]>);

/// Why lines are not a basket. `line` counts from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BasketError {
    #[error("an order has at least one line")]
    Empty,
    #[error("an order has at most {max} lines")]
    TooManyLines { max: usize },
    #[error("a line has at least 1 and at most {max} units of a product, all lines of that product together")]
    Quantity { line: usize, max: u32 },
}

impl Basket {
    /// Puts lines of the same product together and orders them by product.
    ///
    /// # Errors
    /// No line, more than `max_lines` lines, or a quantity outside 1..=`max_quantity` (summed over
    /// the lines of a product).
    pub fn new(
        lines: impl ExactSizeIterator<Item = (ProductId, i64)>,
        max_lines: usize,
        max_quantity: u32,
    ) -> Result<Self, BasketError> {
        if lines.len() == 0 {
            return Err(BasketError::Empty);
        }
        if lines.len() > max_lines {
            return Err(BasketError::TooManyLines { max: max_lines });
        }
        let mut sums: BTreeMap<ProductId, u32> = BTreeMap::new();
        for (line, (product, units)) in lines.enumerate() {
            let wrong = BasketError::Quantity { line, max: max_quantity };
            let units = u32::try_from(units).ok().filter(|units| *units > 0).ok_or(wrong)?;
            let sum = sums.entry(product).or_default();
            *sum = sum.checked_add(units).filter(|sum| *sum <= max_quantity).ok_or(wrong)?;
        }
        let line = |(product_id, units)| {
            let quantity = Quantity::new(units).expect("each line was checked to be positive");
            BasketLine { product_id, quantity }
        };
        Ok(Self(sums.into_iter().map(line).collect()))
    }

    /// A basket from lines that were one before, as an order keeps them.
    pub fn from_order(order: &Order) -> Self {
        Self(order.basket_lines())
    }

    /// The lines, one a product, in id order.
    pub fn lines(&self) -> &Arc<[BasketLine]> {
        &self.0
    }
}

/// Where an order stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum OrderStatus {
    /// The saga is on its way; units are promised, money may have been taken.
    Pending,
    /// Sold: paid, and the units are gone from stock.
    Confirmed,
    /// The saga gave up and undid everything.
    Failed,
    /// The customer took it back; money and units were returned.
    Cancelled,
}

impl OrderStatus {
    /// The word used in JSON and in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Confirmed => "CONFIRMED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl FromStr for OrderStatus {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        [Self::Pending, Self::Confirmed, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == word)
            .ok_or_else(|| UnknownWord(word.to_owned()))
    }
}

/// Why an order is not, or no longer, to be CONFIRMED.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// Fewer units are left than were asked for.
    InsufficientStock,
    /// A price differs from the one the customer saw.
    PriceChanged,
    /// The payment provider refused.
    PaymentDeclined,
    /// The payment provider did not answer; whatever it did was undone.
    PaymentUnknown,
    /// A version or owner changed underneath.
    ConcurrentModification,
    /// The stock gate did not answer.
    ReserveFailed,
    /// The ledger did not answer when the order was to be created.
    CreateOrderFailed,
    /// The order could not be confirmed.
    ConfirmFailed,
    /// The attempt took longer than its hold lasts.
    Expired,
    /// The customer wished to cancel.
    CancelledByCustomer,
}

impl Reason {
    /// Every reason there is.
    pub const ALL: [Self; 10] = [
        Self::InsufficientStock,
        Self::PriceChanged,
        Self::PaymentDeclined,
        Self::PaymentUnknown,
        Self::ConcurrentModification,
        Self::ReserveFailed,
        Self::CreateOrderFailed,
        Self::ConfirmFailed,
        Self::Expired,
        Self::CancelledByCustomer,
    ];

    /// The code used in JSON, events and the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InsufficientStock => "INSUFFICIENT_STOCK",
            Self::PriceChanged => "PRICE_CHANGED",
            Self::PaymentDeclined => "PAYMENT_DECLINED",
            Self::PaymentUnknown => "PAYMENT_UNKNOWN",
            Self::ConcurrentModification => "CONCURRENT_MODIFICATION",
            Self::ReserveFailed => "RESERVE_FAILED",
            Self::CreateOrderFailed => "CREATE_ORDER_FAILED",
            Self::ConfirmFailed => "CONFIRM_FAILED",
            Self::Expired => "EXPIRED",
            Self::CancelledByCustomer => "CANCELLED_BY_CUSTOMER",
        }
    }

    /// The status of an order that was undone for this reason.
    pub fn final_status(self) -> OrderStatus {
        match self {
            Self::CancelledByCustomer => OrderStatus::Cancelled,
            _ => OrderStatus::Failed,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Reason {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == word)
            .ok_or_else(|| UnknownWord(word.to_owned()))
    }
}

/// A stored word that this version does not know.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not a word this version knows")]
pub struct UnknownWord(pub String);

/// A line of an order, as sold: later changes of the product do not reach it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct OrderLine {
    pub product_id: ProductId,
    #[schema(value_type = String)]
    pub sku: Arc<str>,
    #[schema(value_type = String)]
    pub name: Arc<str>,
    pub quantity: Quantity,
    pub unit_price: Money,
}

/// An order, as its customer sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Order {
    pub id: OrderId,
    #[serde(skip)]
    pub user_id: UserId,
    pub status: OrderStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    pub lines: Arc<[OrderLine]>,
    pub total: Money,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Order {
    /// The same order in another state.
    #[must_use]
    pub fn turned(&self, status: OrderStatus, reason: Option<Reason>, at: Timestamp) -> Self {
        Self { status, reason, updated_at: at, ..self.clone() }
    }

    /// Product and quantity of each line.
    pub fn basket_lines(&self) -> Arc<[BasketLine]> {
        self.lines
            .iter()
            .map(|line| BasketLine { product_id: line.product_id, quantity: line.quantity })
            .collect()
    }
}

/// The sum of lines.
///
/// # Errors
/// Two currencies, or a sum that does not fit.
pub fn total_of(lines: &[OrderLine]) -> Result<Money, MoneyError> {
    let mut amounts = lines.iter().map(|line| line.unit_price.times(line.quantity));
    let first = amounts.next().expect("a basket has at least one line")?;
    amounts.try_fold(first, |sum, amount| sum.plus(amount?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basket(lines: &[(i64, i64)]) -> Result<Basket, BasketError> {
        Basket::new(lines.iter().map(|(product, units)| (ProductId(*product), *units)), 3, 10)
    }

    #[test]
    fn lines_of_one_product_are_put_together_in_id_order() {
        let basket = basket(&[(2, 1), (1, 4), (2, 3)]).expect("a basket");
        let lines: Vec<_> = basket.lines().iter().map(|l| (l.product_id.0, l.quantity.get())).collect();
        assert_eq!(lines, [(1, 4), (2, 4)]);
    }

    #[test]
    fn wrong_lines_are_no_basket() {
        assert_eq!(basket(&[]), Err(BasketError::Empty));
        assert_eq!(basket(&[(1, 1); 4]), Err(BasketError::TooManyLines { max: 3 }));
        for units in [0, -1, 11, i64::MAX, i64::MIN] {
            assert_eq!(basket(&[(1, 1), (2, units)]), Err(BasketError::Quantity { line: 1, max: 10 }));
        }
        assert_eq!(basket(&[(1, 6), (1, 6)]), Err(BasketError::Quantity { line: 1, max: 10 }));
    }

    #[test]
    fn every_word_is_read_back() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
        assert!("LATE".parse::<OrderStatus>().is_err());
    }
}
