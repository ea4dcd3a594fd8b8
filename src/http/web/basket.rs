//! The basket: what a visitor means to buy, kept by their browser. Nothing is held for it.

use std::fmt;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use futures_util::future::try_join_all;
use serde::Deserialize;

use crate::domain::{Money, MoneyError, ProductId, Quantity};
use crate::http::Shop;
use crate::http::problem::{Kind, Problem};

use super::catalogue::{Level, ShownProduct};
use super::forms::Form;
use super::visit::{Page, Visit};
use super::{assets, go_to, page};

/// Products of a basket. More do not fit into a cookie.
const LINES_MAX: usize = 50;

/// Units of one product, for a form; what may be bought is decided when it is.
pub const UNITS_MAX: u32 = 100;

/// Products with their units, in the order in which they were put in.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct BasketLines(Vec<(ProductId, u32)>);

impl BasketLines {
    /// A basket as a browser has kept it. What cannot be read of it is left out.
    pub fn kept(text: &str) -> Self {
        let mut basket = Self::default();
        text.split('-').filter_map(line).for_each(|(product, units)| basket.put(product, units));
        basket
    }

    /// The basket that a form names.
    pub fn named(text: &str) -> Option<Self> {
        let lines: Vec<_> = text.split('-').map(line).collect::<Option<_>>()?;
        (lines.len() <= LINES_MAX).then_some(Self(lines))
    }

    /// Adds units of a product, as far as there is room.
    pub fn put(&mut self, product: ProductId, units: u32) {
        let units = units.min(UNITS_MAX);
        match self.0.iter().position(|(known, _)| *known == product) {
            Some(line) => self.0[line].1 = (self.0[line].1 + units).min(UNITS_MAX),
            None if self.0.len() < LINES_MAX && units > 0 => self.0.push((product, units)),
            None => {}
        }
    }

    /// Makes it so many units of a product; none takes it out.
    pub fn set(&mut self, product: ProductId, units: u32) {
        self.0
            .iter_mut()
            .filter(|(known, _)| *known == product)
            .for_each(|line| line.1 = units.min(UNITS_MAX));
        self.0.retain(|(_, units)| *units > 0);
    }

    /// Takes out what was bought.
    pub fn without(&self, bought: &Self) -> Self {
        let left = |(product, units): &(ProductId, u32)| {
            let taken = bought.0.iter().find(|(known, _)| known == product).map_or(0, |(_, taken)| *taken);
            (*product, units.saturating_sub(taken))
        };
        Self(self.0.iter().map(left).filter(|(_, units)| *units > 0).collect())
    }

    pub fn lines(&self) -> &[(ProductId, u32)] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Units of all products.
    pub fn units(&self) -> u32 {
        self.0.iter().map(|(_, units)| units).sum()
    }
}

impl fmt::Display for BasketLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (product, units)) in self.0.iter().enumerate() {
            let between = if place > 0 { "-" } else { "" };
            write!(f, "{between}{product}x{units}")?;
        }
        Ok(())
    }
}

/// A line is PRODUCTxUNITS.
fn line(text: &str) -> Option<(ProductId, u32)> {
    let (product, units) = text.split_once('x')?;
    let product = product.parse().ok().filter(|id| *id > 0).map(ProductId)?;
    let units = units.parse().ok().filter(|units| (1..=UNITS_MAX).contains(units))?;
    Some((product, units))
}

/// A basket with what its products are now.
pub struct Filled {
    pub lines: Vec<FilledLine>,
    /// None where prices cannot be added.
    pub total: Option<Money>,
}

pub struct FilledLine {
    pub product: ShownProduct,
    pub units: u32,
    pub total: Money,
}

/// Looks up the products of a basket, with what is left of them at this moment: whoever is about to buy is not shown
/// what was a few seconds ago. Those that are gone are left out.
///
/// # Errors
/// The stores do not answer.
pub async fn fill(shop: &Shop, basket: &BasketLines) -> Result<Filled, Problem> {
    let found = basket
        .lines()
        .iter()
        .map(async |(id, units)| ShownProduct::find(shop, *id).await.map(|product| (product, units)));
    let ids: Vec<_> = basket.lines().iter().map(|(id, _)| *id).collect();
    let (found, left) = tokio::join!(try_join_all(found), shop.catalog.available_now(&ids));
    // Where nobody can tell, what was a moment ago is better than no page.
    let left = left.unwrap_or_else(|_| vec![None; ids.len()]);
    let mut lines = Vec::new();
    for ((product, units), left) in found?.into_iter().zip(left) {
        let Some(mut product) = product else { continue };
        product.available = left.unwrap_or(product.available);
        let quantity = Quantity::new(*units).expect("a basket has no empty lines");
        let Ok(total) = product.price.times(quantity) else { continue };
        lines.push(FilledLine { product, units: *units, total });
    }
    let mut amounts = lines.iter().map(|line| line.total);
    let first = amounts.next();
    let add = |sum: Money, amount: Money| -> Result<Money, MoneyError> { sum.plus(amount) };
    let total = first.and_then(|first| amounts.try_fold(first, add).ok());
    Ok(Filled { lines, total })
}

#[derive(Template)]
#[template(path = "basket.html")]
struct BasketPage {
    page: Page,
    lines: Vec<Line>,
    total: String,
    is_empty: bool,
    can_check_out: bool,
    problem: String,
}

struct Line {
    id: i64,
    href: String,
    name: String,
    picture: &'static str,
    quantity: u32,
    quantity_max: u32,
    unit_price: String,
    total: String,
    stock_label: String,
    level: &'static str,
    short: bool,
}

/// Shows the basket.
pub async fn show(State(shop): State<Shop>, visit: Visit) -> Result<Response, Problem> {
    let language = visit.language;
    let Filled { lines, total } = fill(&shop, &visit.basket).await?;
    let is_short = lines.iter().any(|line| i64::from(line.units) > line.product.available);
    let problem = match total {
        None if !lines.is_empty() => language.text("problem-currencies"),
        _ if is_short => language.text("basket-cannot"),
        _ => String::new(),
    };
    let lines: Vec<_> = lines
        .into_iter()
        .map(|FilledLine { product, units, total }| Line {
            id: product.id,
            href: product.href(),
            picture: assets::picture(&product.sku),
            quantity: units,
            quantity_max: UNITS_MAX,
            unit_price: language.money(product.price),
            total: language.money(total),
            stock_label: product.stock_label(language),
            level: Level::of(product.available).word(),
            short: i64::from(units) > product.available,
            name: product.name,
        })
        .collect();
    page(&BasketPage {
        page: visit.page_of("title-basket"),
        total: total.map(|total| language.money(total)).unwrap_or_default(),
        is_empty: lines.is_empty(),
        can_check_out: total.is_some() && !is_short,
        lines,
        problem,
    })
}

#[derive(Deserialize)]
pub struct Put {
    product: i64,
    quantity: u32,
    #[serde(default)]
    then: String,
}

/// Puts units of a product into the basket.
pub async fn put(State(shop): State<Shop>, visit: Visit, Form(form): Form<Put>) -> Result<Response, Problem> {
    let id = ProductId(form.product);
    if ShownProduct::find(&shop, id).await?.is_none() {
        return Err(Problem::new(Kind::NotFound, "There is no such product."));
    }
    let mut basket = visit.basket.clone();
    basket.put(id, form.quantity.max(1));
    let to = if form.then == "checkout" { "/checkout" } else { "/basket?notice=added" };
    let mut response = go_to(to);
    visit.keep_basket(&mut response, &basket);
    Ok(response)
}

#[derive(Deserialize)]
pub struct Change {
    product: i64,
    #[serde(default)]
    quantity: u32,
    #[serde(default)]
    remove: String,
}

/// Changes a line of the basket, or takes it out.
pub async fn change(visit: Visit, Form(form): Form<Change>) -> Response {
    let mut basket = visit.basket.clone();
    let units = if form.remove.is_empty() { form.quantity } else { 0 };
    basket.set(ProductId(form.product), units);
    let mut response = go_to("/basket");
    visit.keep_basket(&mut response, &basket);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basket_is_read_back_and_what_is_wrong_in_it_is_left_out() {
        let mut basket = BasketLines::default();
        basket.put(ProductId(7), 2);
        basket.put(ProductId(3), 1);
        basket.put(ProductId(7), 1);
        assert_eq!(basket.to_string(), "7x3-3x1");
        assert_eq!(BasketLines::kept("7x3-3x1"), basket);
        assert_eq!(BasketLines::kept("7x3-<script>-3x1-0x4-9x0-5x99999999999"), basket);
        assert_eq!(BasketLines::named("7x3-3x1"), Some(basket));
        assert_eq!(BasketLines::named("7x3-3"), None);
    }

    #[test]
    fn a_basket_is_bounded() {
        let mut basket = BasketLines::default();
        (1..200).for_each(|id| basket.put(ProductId(id), u32::MAX));
        assert_eq!((basket.lines().len(), basket.lines()[0].1), (LINES_MAX, UNITS_MAX));
        basket.set(ProductId(1), 0);
        assert_eq!(basket.lines()[0].0, ProductId(2));
    }

    #[test]
    fn what_was_bought_is_taken_out() {
        let (basket, bought) = (BasketLines::kept("1x2-2x1-3x4"), BasketLines::kept("2x1-3x1"));
        assert_eq!(basket.without(&bought).to_string(), "1x2-3x3");
    }
}
