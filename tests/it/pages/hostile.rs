//! What nobody should get away with, through every form and every query.

use holdfast::domain::NewProduct;

use crate::support::browser::Browser;
use crate::support::test_app::TestApp;

#[tokio::test]
async fn a_form_of_another_visitor_or_from_before_signing_in_does_nothing() {
    let app = TestApp::builder().product(5).start().await;
    let (ada, eve) = (Browser::new(&app), Browser::new(&app));
    let before = ada.open("/").await.expect(200).csrf();
    let foreign = eve.open("/").await.expect(200).csrf();
    ada.sign_up("ada@example.com").await;
    let own = ada.open("/").await.csrf();
    let longer = format!("{own}00");
    for csrf in [&*before, &*foreign, "", "1.00", &own[1..], &longer, "\u{fffd}"] {
        for action in
            ["/basket", "/basket/lines", "/checkout", "/sign-in", "/sign-up", "/sign-out", "/language"]
        {
            let fields = [("product", "1"), ("quantity", "1"), ("lang", "vi")];
            let answer = ada.post(action, csrf, &fields).await;
            assert_eq!(answer.status, 403, "{action} with {csrf:?}: {}", answer.text());
        }
    }
    assert_eq!(ada.cookie("holdfast_basket"), None);
    let page = ada.open("/orders").await.expect(200);
    assert_eq!(page.address, "/orders", "still signed in");
    // After signing out what was signed before is worth nothing.
    let page = ada.open("/").await;
    ada.submit(&page, "/sign-out", &[]).await.expect(200);
    assert_eq!(ada.post("/basket", &page.csrf(), &[("product", "1"), ("quantity", "1")]).await.status, 403);
    app.finish().await;
}

#[tokio::test]
async fn a_form_sent_from_another_site_does_nothing() {
    let app = TestApp::builder().product(5).start().await;
    let browser = Browser::new(&app);
    let page = browser.open("/").await;
    let cookie = format!("holdfast_visitor={}", browser.cookie("holdfast_visitor").expect("a visitor"));
    let body = format!("csrf={}&product=1&quantity=1", page.csrf());
    for (site, status) in [("cross-site", 403), ("same-site", 403), ("same-origin", 303)] {
        let client = app.anybody();
        let request = client.request("POST", "/basket").header("cookie", cookie.as_str());
        let answer = request.header("sec-fetch-site", site).body(body.as_str()).await;
        assert_eq!(answer.status, status, "{site}");
    }
    app.finish().await;
}

#[tokio::test]
async fn scripts_in_names_and_words_are_shown_and_not_run() {
    let app = TestApp::builder().product(5).start().await;
    let script = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let product = NewProduct {
        sku: "../../x\"><script>".into(),
        name: script.into(),
        description: script.into(),
        category: script.into(),
        price: holdfast::domain::Money::new(100, holdfast::domain::Currency::EUR),
        stock: 3,
    };
    app.shop.stock_room.create_products(vec![product]).await.expect("created");
    let browser = Browser::new(&app);
    let with = |path: &str, name: &str| {
        format!("{path}?{}", serde_urlencoded::to_string([(name, script)]).expect("a query"))
    };
    let plain = ["/", "/products/2"].map(str::to_owned);
    let addresses =
        plain.into_iter().chain([with("/", "q"), with("/", "category"), with("/sign-in", "back")]);
    for address in addresses {
        let page = browser.open(&address).await;
        for bad in ["<script>alert", "<img src=x", "\"'>"] {
            page.does_not_show(bad);
        }
        let policy = page.answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
    let page = browser.open("/products/2").await;
    let basket = browser.submit(&page, "/basket", &[("product", "2"), ("quantity", "1")]).await.expect(200);
    basket.does_not_show("<script>alert");
    browser.sign_up("<b>@example.com").await.does_not_show("<b>@");
    app.finish().await;
}

#[tokio::test]
async fn values_that_nobody_means_are_answered_clearly() {
    let app =
        TestApp::builder().product(5).config(|config| config.server.body_max_bytes = 1_000).start().await;
    let browser = Browser::new(&app);
    browser.sign_up("ada@example.com").await;
    let page = browser.open("/").await;
    let csrf = page.csrf();
    for (action, fields) in [
        ("/basket", "product=999999999999999999999999&quantity=1"),
        ("/basket", "product=1&quantity=-1"),
        ("/basket", "product=1&quantity=99999999999"),
        ("/basket", "quantity=1"),
        ("/basket", "product=1&product=2&quantity=1"),
        ("/basket", "product=777&quantity=1"),
        ("/checkout", "key=&basket=1x1&total_minor=250&currency=EUR&card=tok_ok"),
        ("/checkout", "key=a&basket=1x0&total_minor=250&currency=EUR&card=tok_ok"),
        ("/checkout", "key=a&basket=<script>&total_minor=250&currency=EUR&card=tok_ok"),
        ("/checkout", "key=a&basket=1x1&total_minor=250&currency=XXX&card=tok_ok"),
        ("/checkout", "key=a&basket=1x1&total_minor=1e9&currency=EUR&card=tok_ok"),
    ] {
        let answer = browser.post_raw(action, format!("csrf={csrf}&{fields}")).await;
        assert!((400..500).contains(&answer.status), "{action} {fields}: {}", answer.status);
        assert!(answer.text().contains("<h1"), "{action} {fields} is told on a page");
    }
    // A price that was not the one shown is not paid.
    let forged = format!("csrf={csrf}&key=b&basket=1x1&total_minor=1&currency=EUR&card=tok_ok");
    assert_eq!(browser.post_raw("/checkout", forged).await.status, 409);
    for address in [
        "/products/0",
        "/products/-1",
        "/products/abc",
        "/products/777",
        "/orders/x",
        "/orders/01a216b2-4f6f-7076-a43b-ff7136416a23",
        "/nothing-here",
        "/?cursor=x",
        "/?q=%ff%fe",
        "/orders?cursor=x",
    ] {
        let page = browser.open(address).await;
        assert!([200, 400, 404, 422].contains(&page.answer.status), "{address}: {}", page.answer.status);
        page.shows("<h1");
    }
    let mut broken = format!("csrf={csrf}&product=1&quantity=1&then=").into_bytes();
    broken.extend([0xff, 0xfe, 0x00]);
    assert_eq!(browser.post_raw("/basket", broken).await.status, 303);
    assert_eq!(browser.post_raw("/basket", vec![b'a'; 1_500]).await.status, 413);
    for (cookie, value) in [
        ("holdfast_session", "eyJhbGciOiJub25lIn0.e30."),
        ("holdfast_basket", "1x1-%ff-2x"),
        ("holdfast_visitor", "<script>"),
        ("holdfast_language", "xx"),
    ] {
        browser.set_cookie(cookie, value);
        browser.open("/basket").await.expect(200);
    }
    assert_eq!(app.levels().await, [(5, 0)]);
    app.finish().await;
}

#[tokio::test]
async fn an_order_is_its_customers_alone() {
    let app = TestApp::builder().product(5).start().await;
    let order = app.customer(77).buy(1, 1, "a").await.expect(201).id();
    let browser = Browser::new(&app);
    let page = browser.open(&format!("/orders/{order}")).await.expect(200);
    assert!(page.address.starts_with("/sign-in?back="), "{}", page.address);
    browser.sign_up("eve@example.com").await;
    browser.open(&format!("/orders/{order}")).await.expect(404);
    let page = browser.open("/").await;
    browser.submit(&page, &format!("/orders/{order}/cancel"), &[]).await.expect(404);
    assert_eq!(app.levels().await, [(4, 0)]);
    app.finish().await;
}
