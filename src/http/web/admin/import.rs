//! A catalogue from a file: first what each of its rows would become, then, once that has been looked at, all of it.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use crate::csv_input::ReadError;
use crate::csv_input::catalogue::{CatalogueRow, read_catalogue};
use crate::domain::{Digest, Money, NewProduct, Product, ProductChange, ProductId};
use crate::http::Shop;
use crate::http::api::create_product;
use crate::http::problem::{Kind, Problem};
use crate::http::web::forms::Form;
use crate::http::web::texts::Language;
use crate::http::web::visit::{Page, Visit};
use crate::http::web::{go_to, page};

use super::Administrator;

/// Rows that are shown; the others are counted.
const SHOWN_MAX: usize = 200;

#[derive(Template)]
#[template(path = "admin/import.html")]
struct ImportPage {
    page: Page,
    section: &'static str,
    csv: String,
    problems: Vec<String>,
    plan: Option<PlanView>,
}

struct PlanView {
    /// Says which plan was looked at.
    digest: String,
    summary: String,
    rows: Vec<PlanRow>,
    not_shown: usize,
    changes_nothing: bool,
}

struct PlanRow {
    line: u64,
    sku: String,
    name: String,
    /// new, change or same
    what: &'static str,
    label: String,
    details: String,
}

/// What a row becomes.
#[derive(Debug)]
enum Step {
    New(NewProduct),
    Change(ProductId, ProductChange, String),
    Same,
}

#[derive(Deserialize)]
pub struct ImportForm {
    csv: String,
    /// The plan that was looked at, where one was.
    #[serde(default)]
    plan: String,
}

/// Shows where to put a catalogue.
pub async fn show(Administrator(visit, _): Administrator) -> Result<Response, Problem> {
    page(&import_page(&visit, String::new(), Vec::new(), None))
}

fn import_page(visit: &Visit, csv: String, problems: Vec<String>, plan: Option<PlanView>) -> ImportPage {
    ImportPage { page: visit.page_of("title-import"), section: "products", csv, problems, plan }
}

/// Shows what becomes of a catalogue; and does it, where that has been looked at and is still what would be done.
pub async fn import(
    State(shop): State<Shop>,
    Administrator(visit, _): Administrator,
    Form(ImportForm { csv, plan }): Form<ImportForm>,
) -> Result<Response, Problem> {
    let rows = match read_catalogue(csv.as_bytes()) {
        Ok(rows) => rows,
        Err(error) => {
            let shown = page(&import_page(&visit, csv, problems(&error), None))?;
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, shown).into_response());
        }
    };
    let steps = planned(&shop, visit.language, rows).await?;
    let view = view(visit.language, &steps);
    if plan != view.digest {
        let meanwhile = (!plan.is_empty()).then(|| visit.language.text("import-meanwhile"));
        return page(&import_page(&visit, csv, meanwhile.into_iter().collect(), Some(view)));
    }
    carry_out(&shop, steps).await?;
    Ok(go_to("/admin/products?notice=imported"))
}

/// All of what is wrong with a file.
fn problems(error: &ReadError) -> Vec<String> {
    match error {
        ReadError::WrongRows(wrong) => wrong.to_string().lines().map(ToOwned::to_owned).collect(),
        error => vec![error.to_string()],
    }
}

async fn planned(
    shop: &Shop,
    language: Language,
    rows: Vec<CatalogueRow>,
) -> Result<Vec<(CatalogueRow, Step)>, Problem> {
    let skus = rows.iter().map(|row| row.sku.clone()).collect();
    let known = shop.stores.ledger.products_by_sku(skus).await?;
    let known: HashMap<_, _> = known.into_iter().map(|product| (product.sku.clone(), product)).collect();
    rows.into_iter()
        .map(|row| {
            let currency = row
                .currency
                .parse()
                .map_err(|_| Problem::new(Kind::Internal, "A currency was taken and then not taken."))?;
            let price = Money::new(row.price_minor, currency);
            let step = match known.get(&row.sku) {
                Some(product) => changed(language, product, &row, price),
                None => Step::New(NewProduct {
                    sku: row.sku.clone(),
                    name: row.name.clone(),
                    description: row.description.clone(),
                    category: row.category.clone().unwrap_or_default(),
                    price,
                    stock: row.stock,
                }),
            };
            Ok((row, step))
        })
        .collect()
}

/// What a row changes of a product that is there: nothing where it is empty, or has no such column. Its stock is what
/// the stock log explains, so no file changes it.
fn changed(language: Language, product: &Product, row: &CatalogueRow, price: Money) -> Step {
    let category = row.category.clone().unwrap_or_default();
    let differs = |there: &str, new: &str| (!new.is_empty() && there != new).then(|| new.to_owned());
    let change = ProductChange {
        name: differs(&product.name, &row.name),
        description: differs(&product.description, &row.description),
        category: differs(&product.category, &category),
        price: (product.price != price).then_some(price),
        version: None,
    };
    let mut details = Vec::new();
    if change.name.is_some() {
        details.push(format!("{} → {}", product.name, row.name));
    }
    if change.description.is_some() {
        details.push(language.text("description"));
    }
    if change.category.is_some() {
        details.push(format!("{} → {category}", product.category));
    }
    if change.price.is_some() {
        details.push(format!("{} → {}", language.money(product.price), language.money(price)));
    }
    match details.is_empty() {
        true => Step::Same,
        false => Step::Change(product.id, change, details.join("; ")),
    }
}

fn view(language: Language, steps: &[(CatalogueRow, Step)]) -> PlanView {
    let (mut new, mut change, mut same) = (0_i64, 0_i64, 0_i64);
    let mut rows = Vec::new();
    let mut digested = String::new();
    for (row, step) in steps {
        let (what, details) = match step {
            Step::New(product) => {
                new += 1;
                let (price, stock) = (language.money(product.price), language.number(product.stock));
                ("new", language.text_with("import-stock", [("price", price.into()), ("n", stock.into())]))
            }
            Step::Change(_, _, details) => {
                change += 1;
                ("change", details.clone())
            }
            Step::Same => {
                same += 1;
                ("same", String::new())
            }
        };
        digested.push_str(&format!("{}\t{step:?}\n", row.sku));
        if rows.len() < SHOWN_MAX {
            let label = language.text(&format!("import-{what}"));
            rows.push(PlanRow {
                line: row.line,
                sku: row.sku.clone(),
                name: row.name.clone(),
                what,
                label,
                details,
            });
        }
    }
    let gaps = [("new", new.into()), ("change", change.into()), ("same", same.into())];
    PlanView {
        digest: format!("{:?}", Digest::of(&[digested.as_bytes()])),
        summary: language.text_with("import-summary", gaps),
        not_shown: steps.len() - rows.len(),
        rows,
        changes_nothing: new + change == 0,
    }
}

/// New products come first, all of them or none: then what fails is told before anything was changed.
async fn carry_out(shop: &Shop, steps: Vec<(CatalogueRow, Step)>) -> Result<(), Problem> {
    let (mut new, mut changes) = (Vec::new(), Vec::new());
    for (_, step) in steps {
        match step {
            Step::New(product) => new.push(product),
            Step::Change(id, change, _) => changes.push((id, change)),
            Step::Same => {}
        }
    }
    if !new.is_empty() {
        shop.stock_room.create_products(new).await.map_err(create_product::problem)?;
    }
    for (id, change) in changes {
        shop.stock_room.change_product(id, change).await.map_err(create_product::problem)?;
    }
    Ok(())
}
