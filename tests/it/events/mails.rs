//! Mails to customers, as a real mail server gets them.

use std::time::Duration;

use crate::contract::suite;
use crate::support::mailbox::{Mailbox, Mood};
use crate::support::profile::Stores;
use crate::support::test_app::{PATIENCE, TestApp};
use crate::support::wait_for;

use super::{caught_up, finish, registered};

async fn shop(stores: Stores, mailbox: &Mailbox) -> TestApp {
    let url = mailbox.url.clone();
    let builder = TestApp::builder().product(10).config(|config| config.mail.url = Some(url));
    builder.start_over(stores).await
}

async fn a_customer_is_mailed_once_about_an_order_and_once_when_it_is_on_its_way(stores: Stores) {
    let mailbox = Mailbox::open().await;
    let app = shop(stores, &mailbox).await;
    let customer = registered(&app, "Ann.Lee@example.org").await;
    let order = customer.buy(1, 2, "one").await.expect(201).json();
    let declined = customer.buy_with("tok_declined", 1, "two").await.expect(402);
    wait_for("three mails", PATIENCE, async || mailbox.mails().len() >= 3).await;
    caught_up(&app).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(mailbox.times().into_values().collect::<Vec<_>>(), [1, 1, 1], "each once");

    let id = order["id"].as_str().expect("an id");
    let mails = mailbox.mails();
    let about = |word: &str| {
        let is_it = |mail: &&crate::support::mailbox::Received| {
            mail.header("Subject").contains(id) && mail.header("Message-ID").contains(word)
        };
        mails.iter().find(is_it).unwrap_or_else(|| panic!("no {word}: {mails:?}"))
    };
    let confirmation = about("order-confirmation");
    assert_eq!(confirmation.to, "Ann.Lee@example.org");
    assert_eq!(confirmation.header("Message-ID"), format!("<{id}.order-confirmation@localhost>"));
    assert_eq!(confirmation.header("From"), "Holdfast <shop@localhost>");
    assert!(confirmation.text.contains("2 x Product 1 (SKU-1), 2.50 EUR each"), "{}", confirmation.text);
    assert!(confirmation.text.contains("Total: 5.00 EUR"), "{}", confirmation.text);
    assert_eq!(about("shipping-notice").header("Subject"), format!("Your order {id} is on its way"));

    let listed = customer.get(&format!("/api/v1/orders/{id}/notifications")).await.expect(200).json();
    let items = listed["items"].as_array().expect("items");
    let told: Vec<_> = items.iter().map(|item| (item["kind"].as_str(), item["state"].as_str())).collect();
    let sent = Some("sent");
    assert_eq!(told, [(Some("order-confirmation"), sent), (Some("shipping-notice"), sent)]);
    assert!(items[0]["text"].as_str().is_some_and(|text| text.contains("Total: 5.00 EUR")));
    app.customer(77).get(&format!("/api/v1/orders/{id}/notifications")).await.expect(404);
    app.anybody().get(&format!("/api/v1/orders/{id}/notifications")).await.expect(401);
    drop(declined);
    finish(app).await;
}

async fn a_mail_server_that_is_busy_gets_each_mail_later(stores: Stores) {
    let mailbox = Mailbox::open().await;
    mailbox.becomes(Mood::LosesItsVoice);
    let app = shop(stores, &mailbox).await;
    let customer = registered(&app, "ann@example.org").await;
    let id = customer.buy(1, 1, "one").await.expect(201).id();
    wait_for("two mails", PATIENCE, async || mailbox.times().len() == 2).await;
    mailbox.becomes(Mood::Busy);
    let path = format!("/api/v1/orders/{id}/notifications");
    let states = async || {
        let listed = customer.get(&path).await.expect(200).json();
        let items = listed["items"].as_array().expect("items").clone();
        items.iter().map(|item| item["state"].as_str().expect("a state").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(states().await, ["waiting", "waiting"], "nobody has said that they were taken");
    mailbox.becomes(Mood::Takes);
    wait_for("both are sent", PATIENCE, async || states().await == ["sent", "sent"]).await;
    assert!(mailbox.times().into_values().all(|times| times >= 2), "the same mail has the same id");
    assert_eq!(mailbox.times().len(), 2);
    finish(app).await;
}

async fn a_mail_that_is_refused_is_not_tried_again(stores: Stores) {
    let mailbox = Mailbox::open().await;
    mailbox.becomes(Mood::Refuses);
    let app = shop(stores, &mailbox).await;
    let customer = registered(&app, "ann@example.org").await;
    let id = customer.buy(1, 1, "one").await.expect(201).id();
    // Whoever has no account has no address.
    let stranger = app.customer(5);
    let unaddressed = stranger.buy(1, 1, "one").await.expect(201).id();
    let states = async |client: &crate::support::http_client::Client, id: &str| {
        let listed = client.get(&format!("/api/v1/orders/{id}/notifications")).await.expect(200).json();
        let items = listed["items"].as_array().expect("items").clone();
        items.iter().map(|item| item["state"].as_str().expect("a state").to_owned()).collect::<Vec<_>>()
    };
    wait_for("both are refused", PATIENCE, async || states(&customer, &id).await == ["refused"; 2]).await;
    wait_for("both have no address", PATIENCE, async || {
        states(&stranger, &unaddressed).await == ["unaddressed"; 2]
    })
    .await;
    assert_eq!(mailbox.mails().len(), 0);
    finish(app).await;
}

async fn without_a_mail_server_mails_are_kept_and_shown(stores: Stores) {
    let app = TestApp::builder().product(10).start_over(stores).await;
    let customer = app.customer(5);
    let id = customer.buy(1, 1, "one").await.expect(201).id();
    caught_up(&app).await;
    let listed = customer.get(&format!("/api/v1/orders/{id}/notifications")).await.expect(200).json();
    let items = listed["items"].as_array().expect("items");
    assert_eq!(items.len(), 2);
    assert!(items.iter().all(|item| item["state"] == "waiting"), "{listed}");
    finish(app).await;
}

macro_rules! stories {
    ($adapter:ident, $make:expr) => {
        suite!(
            $adapter,
            $make,
            [
                a_customer_is_mailed_once_about_an_order_and_once_when_it_is_on_its_way,
                a_mail_server_that_is_busy_gets_each_mail_later,
                a_mail_that_is_refused_is_not_tried_again,
                without_a_mail_server_mails_are_kept_and_shown,
            ]
        );
    };
}

stories!(embedded, super::Stores::embedded());
stories!(cluster, super::Stores::cluster_with_kafka().await);
