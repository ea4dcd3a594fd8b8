//! What administrators see and do, by links and forms alone.

use holdfast::domain::{OrderId, UserId};
use holdfast::ports::ledger::Role;

use crate::support::browser::{Browser, Page};
use crate::support::test_app::{PATIENCE, TestApp};
use crate::support::wait_for;

const EMAIL: &str = "root@example.com";

/// Somebody who looks after the shop.
async fn administrator(app: &TestApp) -> Browser {
    let browser = Browser::new(app);
    browser.sign_up(EMAIL).await;
    give_role(app, EMAIL, Role::Admin).await;
    browser
}

async fn give_role(app: &TestApp, email: &str, role: Role) {
    let ledger = &app.shop.stores.ledger;
    let account = ledger.account_by_email(email).await.expect("it answers").expect("an account");
    ledger.change_role(account.id, role).await.expect("it is changed");
}

const PAGES: [&str; 7] = [
    "/admin",
    "/admin/products",
    "/admin/products/1",
    "/admin/products/import",
    "/admin/orders",
    "/admin/analytics",
    "/admin/users",
];

#[tokio::test]
async fn only_administrators_get_in_and_only_while_they_are_ones() {
    let app = TestApp::builder().product(5).start().await;
    let (nobody, customer) = (Browser::new(&app), Browser::new(&app));
    customer.sign_up("ada@example.com").await;
    let admin = administrator(&app).await;
    for path in PAGES {
        let asked = nobody.open(path).await;
        assert!(asked.address.starts_with("/sign-in?back="), "{path}: {}", asked.address);
        customer.open(path).await.expect(403).shows("<h1");
        admin.open(path).await.expect(200);
    }
    customer.ask("/admin/live", "accept", "text/event-stream").await.expect(403);
    let csrf = customer.open("/").await.csrf();
    for action in [
        "/admin/products/new",
        "/admin/products/1",
        "/admin/products/1/stock",
        "/admin/products/import",
        "/admin/users/1/role",
        "/admin/orders/0190a2b4-0000-7000-8000-000000000000/resume",
    ] {
        customer.post(action, &csrf, &[]).await.expect(403);
        // Without a signature of its own, or from another site, not for an administrator either.
        admin.post(action, &csrf, &[]).await.expect(403);
    }
    // Somebody else takes the role away: the next page knows.
    give_role(&app, "ada@example.com", Role::Admin).await;
    customer.open("/admin").await.expect(200);
    give_role(&app, EMAIL, Role::Customer).await;
    admin.open("/admin").await.expect(403);
    assert_eq!(app.levels().await, [(5, 0)]);
    app.finish().await;
}

#[tokio::test]
async fn a_product_is_added_changed_and_restocked() {
    let app = TestApp::builder().start().await;
    let admin = administrator(&app).await;
    let form = admin.open("/admin/products/new").await.expect(200);
    let fields = |price| {
        [
            ("sku", "MUG"),
            ("name", "Blue mug"),
            ("description", "Holds tea.\r\nAnd more."),
            ("category", "kitchen"),
            ("price", price),
            ("currency", "EUR"),
            ("stock", "3"),
        ]
    };
    for wrong in ["12,50", "-1", "12.505", "", "1e3", "99999999999999999999"] {
        let refused = admin.submit(&form, "/admin/products/new", &fields(wrong)).await.expect(422);
        refused.shows("role=\"alert\"");
        refused.shows("Blue mug");
    }
    let product = admin.submit(&form, "/admin/products/new", &fields("12.50")).await.expect(200);
    assert_eq!(product.address, "/admin/products/1?notice=saved");
    product.shows("value=\"12.50\"");
    admin.submit(&form, "/admin/products/new", &fields("1")).await.expect(409).shows("article number");
    let mut dearer = fields("15").to_vec();
    dearer[1].1 = "Green mug";
    admin.submit(&product, "/admin/products/1", &dearer).await.expect(200).shows("value=\"15.00\"");

    let key = product.field("key");
    let restock = |delta| [("delta", delta), ("reason", "restock"), ("key", key.as_str())];
    for wrong in ["0", "some", "1.5", "-4", "99999999999999999999"] {
        let refused = admin.submit(&product, "/admin/products/1/stock", &restock(wrong)).await;
        assert!([409, 422].contains(&refused.answer.status), "{wrong}: {}", refused.answer.status);
        refused.shows("role=\"alert\"");
    }
    for _ in 0..2 {
        // The second one is a double click.
        let restocked = admin.submit(&product, "/admin/products/1/stock", &restock("+10")).await.expect(200);
        restocked.shows("+10");
        restocked.shows("restock");
    }
    assert_eq!(app.levels().await, [(13, 0)]);
    let shown = Browser::new(&app).open("/products/1").await.expect(200);
    shown.shows("Green mug");
    shown.shows("€15.00");
    admin.open("/admin/products?q=green").await.expect(200).shows("Green mug");
    admin.open("/admin/products?q=blue").await.expect(200).does_not_show("Green mug");
    admin.open("/admin/products/2").await.expect(404);
    app.finish().await;
}

#[tokio::test]
async fn a_catalogue_shows_what_becomes_of_it_before_it_is_taken_in() {
    let app = TestApp::builder().product(5).product(7).start().await;
    let admin = administrator(&app).await;
    let import = async |page: &Page, csv: &str, plan: &str| {
        admin.submit(page, "/admin/products/import", &[("csv", csv), ("plan", plan)]).await
    };
    let page = admin.open("/admin/products/import").await.expect(200);
    let header = "sku,name,description,category,price,currency,stock\n";
    for wrong in ["", "sku\n", "a,b\n1,2\n", &format!("{header}X,Name,,,1.2.3,EUR,1\nY,,,,1,EUR,1\n")] {
        import(&page, wrong, "").await.expect(422).shows("role=\"alert\"");
    }
    let csv = format!(
        "{header}SKU-1,Product 1,What product 1 is.,odd,2.50,EUR,99\nSKU-2,Second,What product 2 is.,even,3.00,EUR,0\n\
         NEW,\"<b>New</b>\",,,1.00,EUR,4\n"
    );
    let plan = import(&page, &csv, "").await.expect(200);
    plan.shows("1 new, 1 changed, 1 as they are");
    plan.shows("€2.50 → €3.00");
    plan.shows("&#60;b&#62;New");
    assert_eq!(app.levels().await, [(5, 0), (7, 0)], "nothing is changed by looking");
    // What is there has changed meanwhile: one looks again.
    let digest = plan.field("plan");
    let restock = admin.open("/admin/products/2").await;
    let fields =
        [("name", "Other"), ("description", ""), ("category", ""), ("price", "3"), ("currency", "EUR")];
    admin.submit(&restock, "/admin/products/2", &fields).await.expect(200);
    let again = import(&plan, &csv, &digest).await.expect(200);
    again.shows("Other → Second");
    let done = import(&again, &csv, &again.field("plan")).await.expect(200);
    assert_eq!(done.address, "/admin/products?notice=imported");
    done.shows("Second");
    assert_eq!(app.levels().await, [(5, 0), (7, 0), (4, 0)]);
    import(&done, &csv, "").await.expect(200).shows("0 new, 0 changed, 3 as they are");
    // What a file does not say stays as it is.
    let brief = "sku,name,price,currency,stock\nSKU-1,Product 1,2.50,EUR,0\n";
    import(&done, brief, "").await.expect(200).shows("0 new, 0 changed, 1 as they are");
    app.finish().await;
}

#[tokio::test]
async fn an_order_shows_what_happened_to_it_and_what_was_paid() {
    let app = TestApp::builder().product(5).start().await;
    let admin = administrator(&app).await;
    let order = app.customer(7).buy(1, 2, "a").await.expect(201).id();
    let list = admin.open("/admin/orders").await.expect(200);
    list.shows(&format!("/admin/orders/{order}"));
    let found = admin.open(&format!("/admin/orders?q={order}")).await.expect(200);
    assert_eq!(found.address, format!("/admin/orders/{order}"));
    for words in ["The customer asked to buy", "The payment went through", "OrderConfirmed", "€5.00", "sim_"]
    {
        found.shows(words);
    }
    admin.open("/admin/orders?q=7").await.expect(200).shows(&order);
    admin.open("/admin/orders?q=8").await.expect(200).does_not_show(&order);
    admin.open("/admin/orders?q=nobody@example.com").await.expect(200).shows("No orders.");
    let path = format!("/admin/orders/{order}/resume");
    admin.submit(&found, &path, &[]).await.expect(409).shows("not stuck");
    admin.open("/admin/orders/0190a2b4-0000-7000-8000-000000000000").await.expect(404);
    admin.open("/admin/orders?cursor=x").await.expect(422);
    // In a cluster without an event log nobody is mailed, and nothing is counted.
    if app.shop.stores.log.is_some() {
        wait_for("the customer is told", PATIENCE, async || {
            let page = admin.open(&found.address).await.expect(200);
            page.text().contains("No address") || page.text().contains("Waiting")
        })
        .await;
        wait_for("it is counted", PATIENCE, async || {
            let page = admin.open("/admin/analytics").await.expect(200);
            page.text().contains("Product 1") && page.text().contains("€5.00")
        })
        .await;
    }
    app.finish().await;
}

#[tokio::test]
async fn orders_come_in_pages() {
    let app = TestApp::builder().product(500).start().await;
    let admin = administrator(&app).await;
    let mut orders = Vec::new();
    for place in 0..51 {
        orders.push(app.customer(1).buy(1, 1, &format!("key {place}")).await.expect(201).id());
    }
    let first = admin.open("/admin/orders").await.expect(200);
    let address = |order: &str| format!("/admin/orders/{order}\"");
    first.shows(&address(&orders[50]));
    first.does_not_show(&address(&orders[0]));
    let last_shown: OrderId = orders[1].parse().expect("an id");
    let second = admin.open(&format!("/admin/orders?cursor={last_shown}")).await.expect(200);
    second.shows(&address(&orders[0]));
    second.does_not_show(&address(&orders[1]));
    app.finish().await;
}

#[tokio::test]
async fn roles_are_given_and_somebody_stays_administrator() {
    let app = TestApp::builder().start().await;
    let admin = administrator(&app).await;
    let other = Browser::new(&app);
    other.sign_up("ada@example.com").await;
    let ledger = &app.shop.stores.ledger;
    let id = async |email| ledger.account_by_email(email).await.expect("it answers").expect("it is there").id;
    let (ada, root) = (id("ada@example.com").await, id(EMAIL).await);
    let page = admin.open("/admin/users?q=ADA").await.expect(200);
    page.shows("ada@example.com");
    page.does_not_show(EMAIL);
    let change = async |who: &Browser, page: &Page, id, role| {
        who.submit(page, &format!("/admin/users/{id}/role"), &[("role", role)]).await
    };
    change(&admin, &page, root, "customer").await.expect(409).shows("stay administrator");
    change(&admin, &page, ada, "owner").await.expect(400);
    change(&admin, &page, UserId(1), "admin").await.expect(404);
    change(&admin, &page, ada, "admin").await.expect(200).shows("ada@example.com");
    let page = other.open("/admin/users?role=admin").await.expect(200);
    page.shows(EMAIL);
    change(&other, &page, root, "customer").await.expect(200);
    admin.open("/admin").await.expect(403);
    app.finish().await;
}
