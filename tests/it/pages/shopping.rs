//! Looking, choosing, buying and taking back, by links and forms alone.

use crate::support::browser::{Browser, Page};
use crate::support::test_app::{PATIENCE, TestApp};
use crate::support::wait_for;

async fn checkout(browser: &Browser, card: &str) -> Page {
    let page = browser.open("/checkout").await.expect(200);
    pay(browser, &page, card).await
}

async fn pay(browser: &Browser, page: &Page, card: &str) -> Page {
    let names = ["key", "basket", "total_minor", "currency"];
    let values = names.map(|name| page.field(name));
    let mut fields: Vec<_> = names.into_iter().zip(values.iter().map(String::as_str)).collect();
    fields.push(("card", card));
    browser.submit(page, "/checkout", &fields).await
}

async fn put(browser: &Browser, product: &str, quantity: &str) -> Page {
    let page = browser.open(&format!("/products/{product}")).await.expect(200);
    browser.submit(&page, "/basket", &[("product", product), ("quantity", quantity)]).await
}

#[tokio::test]
async fn somebody_finds_a_product_buys_it_and_sees_the_order() {
    let app = TestApp::builder().product(5).start().await;
    let browser = Browser::new(&app);
    let catalogue = browser.open("/").await.expect(200);
    catalogue.shows("Product 1");
    catalogue.shows("€2.50");
    catalogue.shows("href=\"/products/1\"");
    let product = browser.open("/products/1").await.expect(200);
    product.shows("What product 1 is.");
    let fields = [("product", "1"), ("quantity", "2"), ("then", "checkout")];
    let sign_in = browser.submit(&product, "/basket", &fields).await.expect(200);
    assert_eq!(sign_in.address, "/sign-in?back=%2Fcheckout");
    let sign_up = browser.open("/sign-up?back=%2Fcheckout").await;
    let fields = [("email", "ada@example.com"), ("password", "a long password"), ("back", "/checkout")];
    let page = browser.submit(&sign_up, "/sign-up", &fields).await.expect(200);
    assert_eq!(page.address, "/checkout");
    page.shows("€5.00");
    let order = pay(&browser, &page, "tok_ok").await.expect(200);
    assert!(order.address.starts_with("/orders/"), "{}", order.address);
    order.shows("Product 1");
    order.shows("Confirmed");
    assert_eq!(browser.cookie("holdfast_basket"), None, "the basket is empty");
    browser.open("/orders").await.expect(200).shows(&order.address);
    assert_eq!(app.levels().await, [(3, 0)]);
    app.finish().await;
}

#[tokio::test]
async fn a_double_click_and_a_page_from_before_make_one_order() {
    let app = TestApp::builder().product(5).start().await;
    let browser = Browser::new(&app);
    browser.sign_up("ada@example.com").await;
    put(&browser, "1", "1").await.expect(200);
    let page = browser.open("/checkout").await.expect(200);
    let (first, second) = tokio::join!(pay(&browser, &page, "tok_ok"), pay(&browser, &page, "tok_ok"));
    let later = pay(&browser, &page, "tok_ok").await.expect(200);
    assert_eq!([&first.address, &second.address], [&later.address; 2]);
    assert_eq!(app.levels().await, [(4, 0)]);
    app.finish().await;
}

#[tokio::test]
async fn a_declined_card_gives_an_order_that_says_so_and_keeps_no_units() {
    let app = TestApp::builder().product(5).start().await;
    let browser = Browser::new(&app);
    browser.sign_up("ada@example.com").await;
    put(&browser, "1", "1").await;
    let order = checkout(&browser, "tok_declined").await.expect(200);
    order.shows("data-status=\"FAILED\"");
    order.shows("declined");
    assert_eq!(app.levels().await, [(5, 0)]);
    app.finish().await;
}

#[tokio::test]
async fn what_sells_out_between_basket_and_checkout_is_not_charged() {
    let app = TestApp::builder().product(2).product(9).start().await;
    let browser = Browser::new(&app);
    browser.sign_up("ada@example.com").await;
    put(&browser, "1", "2").await;
    put(&browser, "2", "1").await;
    let page = browser.open("/checkout").await.expect(200);
    app.customer(50).buy(1, 1, "a").await.expect(201);
    app.shows(1, 1).await;
    let refused = pay(&browser, &page, "tok_ok").await.expect(409);
    refused.shows("Product 1");
    refused.shows("role=\"alert\"");
    assert_eq!(app.charges().await.len(), 1, "only the other customer has paid");
    let basket = browser.open("/basket").await.expect(200);
    basket.shows("Product 2");
    let changed = browser.submit(&basket, "/basket/lines", &[("product", "1"), ("quantity", "1")]).await;
    assert_eq!(changed.address, "/basket");
    checkout(&browser, "tok_ok").await.expect(200).shows("data-status=\"CONFIRMED\"");
    app.finish().await;
}

#[tokio::test]
async fn a_customer_takes_an_order_back() {
    let app = TestApp::builder().product(2).start().await;
    let browser = Browser::new(&app);
    browser.sign_up("ada@example.com").await;
    put(&browser, "1", "2").await;
    let order = checkout(&browser, "tok_ok").await.expect(200);
    let (path, _) = order.address.split_once('?').unwrap_or((&order.address, ""));
    wait_for("its page says that it is sold out", PATIENCE, async || {
        browser.open("/products/1").await.expect(200).text().contains("disabled")
    })
    .await;
    let cancelled = browser.submit(&order, &format!("{path}/cancel"), &[]).await.expect(200);
    cancelled.shows("data-status=\"CANCELLED\"");
    assert_eq!(app.levels().await, [(2, 0)]);
    app.finish().await;
}

#[tokio::test]
async fn a_basket_is_changed_and_emptied() {
    let app = TestApp::builder().product(5).product(5).start().await;
    let browser = Browser::new(&app);
    put(&browser, "1", "1").await;
    let basket = put(&browser, "2", "2").await.expect(200);
    basket.shows("€7.50");
    let basket = browser.submit(&basket, "/basket/lines", &[("product", "2"), ("quantity", "1")]).await;
    basket.shows("€5.00");
    let fields = [("product", "2"), ("quantity", "1"), ("remove", "1")];
    let basket = browser.submit(&basket, "/basket/lines", &fields).await;
    basket.does_not_show("Product 2");
    let basket = browser.submit(&basket, "/basket/lines", &[("product", "1"), ("quantity", "0")]).await;
    basket.does_not_show("Product 1");
    assert_eq!(browser.cookie("holdfast_basket"), None);
    app.finish().await;
}

#[tokio::test]
async fn the_catalogue_is_searched_and_paged() {
    let app = TestApp::builder().products(30, 1).start().await;
    let browser = Browser::new(&app);
    let first = browser.open("/").await.expect(200);
    first.shows("Product 24<");
    first.does_not_show("Product 25<");
    first.shows("/?cursor=24");
    let second = browser.open("/?cursor=24").await.expect(200);
    second.shows("Product 30<");
    second.does_not_show("?cursor=30");
    let found = browser.open("/?q=product+17").await.expect(200);
    found.shows("Product 17<");
    found.does_not_show("Product 18<");
    let even = browser.open("/?category=even").await.expect(200);
    even.shows("Product 2<");
    even.does_not_show("Product 1<");
    app.finish().await;
}

#[tokio::test]
async fn a_visitor_is_spoken_to_in_their_language() {
    let app = TestApp::builder().priced(5, 1_250_000, "VND").start().await;
    let browser = Browser::new(&app).speaking("vi-VN,vi;q=0.9");
    let page = browser.open("/products/1").await.expect(200);
    page.shows("lang=\"vi\"");
    page.shows("1.250.000\u{a0}₫");
    let english = browser.submit(&page, "/language", &[("lang", "en"), ("back", "/products/1")]).await;
    assert_eq!(english.address, "/products/1");
    english.shows("lang=\"en\"");
    english.shows("₫1,250,000");
    app.finish().await;
}

#[tokio::test]
async fn assets_may_be_kept_for_ever() {
    let app = TestApp::builder().start().await;
    let browser = Browser::new(&app);
    let page = browser.open("/").await.expect(200);
    let addresses: Vec<_> = page.text().split('"').filter(|word| word.starts_with("/assets/")).collect();
    assert!(addresses.iter().any(|address| address.ends_with(".css")), "{addresses:?}");
    for address in addresses {
        let asset = browser.ask(address, "accept-encoding", "br").await.expect(200);
        assert_eq!(asset.header("cache-control"), Some("public, max-age=31536000, immutable"), "{address}");
        assert_eq!(asset.header("content-encoding"), Some("br"));
    }
    browser.ask("/assets/shop.000000000000.css", "accept-encoding", "br").await.expect(404);
    app.finish().await;
}
