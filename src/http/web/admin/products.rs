//! Products: looking for them, adding and changing them, and changes of their stock with a reason.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use crate::csv_input::minor_units;
use crate::domain::{Currency, Money, NewProduct, Product, ProductChange, ProductId, StockReason};
use crate::http::Shop;
use crate::http::api::adjust_stock::{self, AdjustStock};
use crate::http::api::change_product::change_checked;
use crate::http::api::create_product;
use crate::http::extract::{IdempotencyKey, ProductPath, Query, text};
use crate::http::problem::{Kind, Problem};
use crate::http::web::forms::Form;
use crate::http::web::visit::{Page, Visit};
use crate::http::web::{go_to, page, with_query};
use crate::ports::ledger::{ProductQuery, StockLogEntry};

use super::Administrator;
use super::table::explained;

/// Products of a page, and changes of stock.
const PRODUCTS: usize = 50;
const STOCK_LOG: usize = 20;

#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    q: String,
    cursor: Option<i64>,
}

#[derive(Template)]
#[template(path = "admin/products.html")]
struct ProductsPage {
    page: Page,
    section: &'static str,
    q: String,
    products: Vec<Row>,
    next_href: String,
}

struct Row {
    href: String,
    sku: String,
    name: String,
    category: String,
    price: String,
    available: String,
    reserved: String,
}

/// Lists products in the order in which they came.
pub async fn list(
    State(shop): State<Shop>,
    Administrator(visit, _): Administrator,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    text("q", &wanted.q, 0, 200)?;
    let words = wanted.q.trim();
    let query = ProductQuery {
        text: (!words.is_empty()).then(|| words.to_owned()),
        category: None,
        after: wanted.cursor.map(ProductId),
        limit: PRODUCTS,
    };
    let found = shop.stores.ledger.products(&query).await?;
    let language = visit.language;
    let row = |product: &Product| Row {
        href: address(product.id),
        sku: product.sku.clone(),
        name: product.name.clone(),
        category: product.category.clone(),
        price: language.money(product.price),
        available: language.number(product.available()),
        reserved: language.number(product.reserved),
    };
    let next = found.last().filter(|_| found.len() == PRODUCTS);
    let next = next
        .map(|product| with_query("/admin/products", &[("q", words), ("cursor", &product.id.to_string())]));
    page(&ProductsPage {
        page: visit.page_of("title-admin-products"),
        section: "products",
        q: words.to_owned(),
        products: found.iter().map(row).collect(),
        next_href: next.unwrap_or_default(),
    })
}

/// Where administrators see a product.
pub fn address(id: ProductId) -> String {
    format!("/admin/products/{id}")
}

/// A product as it is written in a form.
#[derive(Clone, Default, Deserialize)]
pub struct ProductForm {
    #[serde(default)]
    sku: String,
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    category: String,
    /// Decimal.
    price: String,
    currency: String,
    /// Units, of a new one.
    #[serde(default)]
    stock: String,
    /// What the administrator was shown, so that only what they have changed is: the same form may be open elsewhere.
    #[serde(default)]
    shown: String,
}

impl ProductForm {
    fn of(product: &Product) -> Self {
        Self {
            sku: product.sku.clone(),
            name: product.name.clone(),
            description: product.description.clone(),
            category: product.category.clone(),
            price: decimal(product.price),
            currency: product.price.currency.to_string(),
            stock: String::new(),
            shown: Shown::of(product).to_text(),
        }
    }

    fn price(&self) -> Result<Money, Problem> {
        let currency: Currency = self
            .currency
            .trim()
            .parse()
            .map_err(|_| Problem::invalid("/currency", "has to be an ISO 4217 code such as EUR"))?;
        let minor = minor_units(self.price.trim(), currency.decimals());
        let minor = minor.map_err(|error| Problem::invalid("/price", error.to_string()))?;
        Ok(Money::new(minor, currency))
    }

    /// Browsers end lines in two characters.
    fn description(&self) -> String {
        self.description.replace("\r\n", "\n")
    }
}

/// What describes a product, as it was when a form was shown.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Shown {
    name: String,
    description: String,
    category: String,
    price: Money,
}

impl Shown {
    fn of(product: &Product) -> Self {
        let Product { name, description, category, price, .. } = product.clone();
        Self { name, description, category, price }
    }

    fn to_text(&self) -> String {
        serde_json::to_string(self).expect("it is plain data")
    }
}

/// An amount as it is typed.
fn decimal(money: Money) -> String {
    let text = money.to_string();
    text.split(' ').next().unwrap_or_default().to_owned()
}

#[derive(Template)]
#[template(path = "admin/product.html")]
struct ProductPage {
    page: Page,
    section: &'static str,
    /// Where the form goes.
    action: String,
    form: ProductForm,
    problem: String,
    /// Of one that is there already.
    known: Option<Known>,
}

/// What is known of a product beside its description.
struct Known {
    shop_href: String,
    stock_action: String,
    available: String,
    stock: String,
    reserved: String,
    key: String,
    delta: String,
    reason: String,
    log: Vec<Past>,
}

/// A change of stock.
struct Past {
    when: String,
    delta: String,
    reason: String,
    order_href: String,
}

/// Shows an empty form.
pub async fn new(Administrator(visit, _): Administrator) -> Result<Response, Problem> {
    let form = ProductForm { currency: "EUR".to_owned(), ..ProductForm::default() };
    page(&new_page(&visit, form, String::new()))
}

fn new_page(visit: &Visit, form: ProductForm, problem: String) -> ProductPage {
    let page = visit.page_of("title-new-product");
    ProductPage {
        page,
        section: "products",
        action: "/admin/products/new".to_owned(),
        form,
        problem,
        known: None,
    }
}

/// Adds a product.
pub async fn create(
    State(shop): State<Shop>,
    Administrator(visit, _): Administrator,
    Form(form): Form<ProductForm>,
) -> Result<Response, Problem> {
    match created(&shop, &form).await {
        Ok(product) => Ok(go_to(&format!("{}?notice=saved", address(product.id)))),
        Err(problem) => {
            let shown = page(&new_page(&visit, form, explained(&visit, &problem)))?;
            Ok((problem.status(), shown).into_response())
        }
    }
}

async fn created(shop: &Shop, form: &ProductForm) -> Result<Product, Problem> {
    let stock = match form.stock.trim() {
        "" => 0,
        stock => stock.parse().map_err(|_| Problem::invalid("/stock", "is not a whole number"))?,
    };
    let new = NewProduct {
        sku: form.sku.trim().to_owned(),
        name: form.name.trim().to_owned(),
        description: form.description(),
        category: form.category.trim().to_owned(),
        price: form.price()?,
        stock,
    };
    create_product::create(shop, new).await
}

/// Shows a product with what is left of it, and how it came to that.
pub async fn show(
    State(shop): State<Shop>,
    Administrator(visit, _): Administrator,
    ProductPath(id): ProductPath,
) -> Result<Response, Problem> {
    page(&product_page(&shop, &visit, id, Attempt::None).await?)
}

/// What did not work out, to be tried again from where it was.
enum Attempt {
    None,
    Change(ProductForm, Problem),
    Stock(StockForm, Problem),
}

async fn product_page(
    shop: &Shop,
    visit: &Visit,
    id: ProductId,
    attempt: Attempt,
) -> Result<ProductPage, Problem> {
    let ledger = &shop.stores.ledger;
    let (product, log) = tokio::join!(ledger.product(id), ledger.stock_log(id, STOCK_LOG));
    let product = product?.ok_or_else(|| Problem::new(Kind::NotFound, "There is no such product."))?;
    let language = visit.language;
    let (mut form, mut problem, mut stock) = (ProductForm::of(&product), String::new(), StockForm::default());
    match attempt {
        Attempt::None => {}
        Attempt::Change(tried, why) => {
            problem = explained(visit, &why);
            form = ProductForm { sku: form.sku, ..tried };
        }
        Attempt::Stock(tried, why) => {
            // Whether it was made is not known: the same key tells, and makes it once.
            let key = if why.status() == StatusCode::SERVICE_UNAVAILABLE { tried.key } else { String::new() };
            (problem, stock) = (explained(visit, &why), StockForm { key, ..tried });
        }
    }
    let past = |entry: StockLogEntry| Past {
        when: language.moment(entry.at),
        delta: signed(language.number(entry.delta), entry.delta),
        reason: match StockReason::is_reserved_word(&entry.reason) {
            true => language.text(&format!("stock-reason-{}", entry.reason)),
            false => entry.reason,
        },
        order_href: entry.order.map(|order| format!("/admin/orders/{order}")).unwrap_or_default(),
    };
    Ok(ProductPage {
        page: visit.page(product.name.clone()),
        section: "products",
        action: address(id),
        form,
        problem,
        known: Some(Known {
            shop_href: format!("/products/{id}"),
            stock_action: format!("{}/stock", address(id)),
            available: language.number(product.available()),
            stock: language.number(product.stock),
            reserved: language.number(product.reserved),
            key: match stock.key.is_empty() {
                true => shop.stores.clock.new_order_id().to_string(),
                false => stock.key,
            },
            delta: stock.delta,
            reason: stock.reason,
            // The page can do without.
            log: log.unwrap_or_default().into_iter().map(past).collect(),
        }),
    })
}

fn signed(number: String, value: i64) -> String {
    if value > 0 { format!("+{number}") } else { number }
}

/// Changes what describes a product.
pub async fn change(
    State(shop): State<Shop>,
    Administrator(visit, _): Administrator,
    ProductPath(id): ProductPath,
    Form(form): Form<ProductForm>,
) -> Result<Response, Problem> {
    match changed(&shop, id, &form).await {
        Ok(_) => Ok(go_to(&format!("{}?notice=saved", address(id)))),
        Err(problem) => {
            let status = problem.status();
            let shown = page(&product_page(&shop, &visit, id, Attempt::Change(form, problem)).await?)?;
            Ok((status, shown).into_response())
        }
    }
}

async fn changed(shop: &Shop, id: ProductId, form: &ProductForm) -> Result<Product, Problem> {
    let shown: Option<Shown> = serde_json::from_str(&form.shown).ok();
    let new = Shown {
        name: form.name.trim().to_owned(),
        description: form.description(),
        category: form.category.trim().to_owned(),
        price: form.price()?,
    };
    let change = ProductChange {
        name: changed_since(&shown, new.name, |shown| &shown.name),
        description: changed_since(&shown, new.description, |shown| &shown.description),
        category: changed_since(&shown, new.category, |shown| &shown.category),
        price: changed_since(&shown, new.price, |shown| &shown.price),
        version: None,
    };
    change_checked(shop, id, change).await
}

/// A value, where it is another than was shown.
fn changed_since<T: PartialEq>(shown: &Option<Shown>, new: T, field: fn(&Shown) -> &T) -> Option<T> {
    let is_same = shown.as_ref().is_some_and(|shown| *field(shown) == new);
    (!is_same).then_some(new)
}

/// A change of stock as it is written in a form.
#[derive(Default, Deserialize)]
pub struct StockForm {
    delta: String,
    reason: String,
    /// Makes a double click one change.
    #[serde(default)]
    key: String,
}

/// Adds units, or takes them away.
pub async fn adjust_stock(
    State(shop): State<Shop>,
    Administrator(visit, user): Administrator,
    ProductPath(id): ProductPath,
    Form(form): Form<StockForm>,
) -> Result<Response, Problem> {
    let adjusted = async {
        let key = IdempotencyKey::parse(&form.key)?;
        let delta = form.delta.trim().trim_start_matches('+').parse();
        let delta = delta.map_err(|_| Problem::invalid("/delta", "is not a whole number"))?;
        let change = AdjustStock { delta, reason: form.reason.trim().to_owned() };
        adjust_stock::adjust(&shop, user, id, &key, change).await
    };
    match adjusted.await {
        Ok(_) => Ok(go_to(&format!("{}?notice=restocked", address(id)))),
        Err(problem) => {
            let status = problem.status();
            let shown = page(&product_page(&shop, &visit, id, Attempt::Stock(form, problem)).await?)?;
            Ok((status, shown).into_response())
        }
    }
}
