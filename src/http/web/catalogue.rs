//! The catalogue: products in pages, searched by words and by category.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use crate::domain::{Money, ProductId, Timestamp};
use crate::http::Shop;
use crate::http::extract::{Query, text};
use crate::http::problem::{Kind, Problem};
use crate::ports::ledger::ProductQuery;

use super::texts::Language;
use super::visit::{Page, Visit};
use super::{assets, page, with_query};

/// Products of a page.
const PRODUCTS: usize = 24;

/// Up to so many units a product is about to run out.
pub const FEW_MAX: i64 = 20;

/// A product as the API shows it.
#[derive(Deserialize)]
pub struct ShownProduct {
    pub id: i64,
    pub sku: String,
    pub name: String,
    pub description: String,
    pub category: String,
    pub price: Money,
    pub available: i64,
    pub as_of: Timestamp,
}

impl ShownProduct {
    /// The product of an id.
    ///
    /// # Errors
    /// The stores do not answer.
    pub async fn find(shop: &Shop, id: ProductId) -> Result<Option<Self>, Problem> {
        shop.catalog.view(id).await?.map(|json| Self::read(&json)).transpose()
    }

    fn read(json: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(json).map_err(|error| {
            tracing::error!(%error, "a product is not what pages take it for");
            Problem::new(Kind::Internal, "A product could not be read.")
        })
    }

    pub fn href(&self) -> String {
        format!("/products/{}", self.id)
    }

    pub fn price(&self, language: Language) -> String {
        match self.price.minor {
            0 => language.text("price-free"),
            _ => language.money(self.price),
        }
    }

    /// How much is left, in words.
    pub fn stock_label(&self, language: Language) -> String {
        language.text_with(Level::of(self.available).text(), [("n", self.available.into())])
    }
}

/// How much is left, roughly.
#[derive(Clone, Copy)]
pub enum Level {
    Many,
    Few,
    None,
}

impl Level {
    pub fn of(available: i64) -> Self {
        match available {
            ..=0 => Self::None,
            1..=FEW_MAX => Self::Few,
            _ => Self::Many,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Many => "many",
            Self::Few => "few",
            Self::None => "none",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Many => "stock-many",
            Self::Few => "stock-few",
            Self::None => "stock-none",
        }
    }
}

#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    q: String,
    #[serde(default)]
    category: String,
    cursor: Option<i64>,
}

#[derive(Template)]
#[template(path = "catalogue.html")]
struct CataloguePage {
    page: Page,
    q: String,
    category: String,
    categories: Vec<Category>,
    products: Vec<Card>,
    next_href: String,
    first_href: String,
    is_empty: bool,
}

struct Category {
    label: String,
    href: String,
    current: bool,
}

struct Card {
    href: String,
    name: String,
    category: String,
    price: String,
    stock_label: String,
    level: &'static str,
    picture: &'static str,
}

/// Shows a page of the catalogue.
pub async fn show(
    State(shop): State<Shop>,
    visit: Visit,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    text("q", &wanted.q, 0, 200)?;
    let (words, category) = (wanted.q.trim(), wanted.category.as_str());
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let query = ProductQuery {
        text: some(words),
        category: some(category),
        after: wanted.cursor.map(ProductId),
        limit: PRODUCTS,
    };
    let (items, last) = shop.catalog.list(&query).await?;
    let products =
        items.iter().map(|json| ShownProduct::read(json.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    let next = last.filter(|_| products.len() == PRODUCTS);
    let language = visit.language;
    let cards = products.into_iter().map(|product| Card {
        href: product.href(),
        price: product.price(language),
        stock_label: product.stock_label(language),
        level: Level::of(product.available).word(),
        picture: assets::picture(&product.sku),
        name: product.name,
        category: product.category,
    });
    let products: Vec<_> = cards.collect();
    let title = match words {
        "" => language.text("title-catalogue"),
        words => language.text_with("title-search", [("q", words.to_owned().into())]),
    };
    let all = Category {
        label: language.text("category-all"),
        href: address("", words, None),
        current: category.is_empty(),
    };
    let known = shop.catalog.categories().await.unwrap_or_default();
    let one = |name: &String| Category {
        label: name.clone(),
        href: address(name, words, None),
        current: name == category,
    };
    let categories = std::iter::once(all).chain(known.iter().map(one)).collect();
    page(&CataloguePage {
        page: visit.page(title),
        categories,
        next_href: next.map(|id| address(category, words, Some(id))).unwrap_or_default(),
        first_href: if wanted.cursor.is_some() { address(category, words, None) } else { String::new() },
        is_empty: products.is_empty(),
        q: words.to_owned(),
        category: category.to_owned(),
        products,
    })
}

/// The address of a page of the catalogue.
pub fn address(category: &str, words: &str, after: Option<ProductId>) -> String {
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    with_query("/", &[("q", words), ("category", category), ("cursor", &after)])
}
