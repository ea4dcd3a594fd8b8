//! Products and the stock of them.

use serde::Serialize;

use super::ids::ProductId;
use super::money::Money;
use super::time::Timestamp;

/// A product as the ledger holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Product {
    pub id: ProductId,
    pub sku: String,
    pub name: String,
    pub description: String,
    pub category: String,
    pub price: Money,
    /// Units on hand, those promised to PENDING orders included.
    pub stock: i64,
    /// Units promised to PENDING orders. Never more than `stock`.
    pub reserved: i64,
    /// Counts every change of the row: the fencing number of the ledger.
    pub version: i64,
    pub updated_at: Timestamp,
}

impl Product {
    /// Units that can still be sold.
    pub fn available(&self) -> i64 {
        self.stock - self.reserved
    }
}

/// A product about to be created. Its fields have been checked at the edge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewProduct {
    pub sku: String,
    pub name: String,
    pub description: String,
    pub category: String,
    pub price: Money,
    /// Opening stock in units, not negative.
    pub stock: i64,
}

/// What an administrator wants to change of a product; `None` leaves a field as it is.
#[derive(Clone, Default, Debug)]
pub struct ProductChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub category: Option<String>,
    pub price: Option<Money>,
    /// The version that the administrator saw. When given and not current, nothing changes.
    pub version: Option<i64>,
}

/// Stock of one product, as the gate is loaded from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StockLevel {
    pub product: ProductId,
    pub stock: i64,
    pub reserved: i64,
}

/// What is left of a product that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Left {
    #[serde(rename = "product_id")]
    pub product: ProductId,
    pub requested: u32,
    /// Units that can be had, never negative.
    pub left: i64,
}

/// Why a unit came or went: the vocabulary of the stock log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StockReason {
    /// The stock a product was created with.
    Opening,
    /// Sold by a CONFIRMED order.
    Sale,
    /// Given back by a customer's cancel.
    Cancel,
    /// Changed by an administrator, in their own words ("restock", "return", "write-off").
    Adjustment(String),
}

impl StockReason {
    /// The word stored in the log.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Opening => "opening",
            Self::Sale => "sale",
            Self::Cancel => "cancel",
            Self::Adjustment(words) => words,
        }
    }

    /// Words that an administrator may not use for an adjustment, because the log uses them itself.
    pub fn is_reserved_word(words: &str) -> bool {
        ["opening", "sale", "cancel"].contains(&words)
    }
}
