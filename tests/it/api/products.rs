//! The catalogue.

use insta::assert_snapshot;

use crate::support::http_client::Answer;
use crate::support::test_app::TestApp;

fn ids(answer: &Answer) -> Vec<i64> {
    let json = answer.json();
    let items = json["items"].as_array().expect("a page");
    items.iter().map(|item| item["id"].as_i64().expect("an id")).collect()
}

#[tokio::test]
async fn a_product_is_shown_with_what_is_left_of_it() {
    let app = TestApp::builder().product(5).start().await;
    let anybody = app.anybody();
    assert_snapshot!(anybody.get("/api/v1/products/1").await.shown(), @r#"
    200
    content-type: application/json
    {
      "as_of": "[time]",
      "available": 5,
      "category": "odd",
      "description": "What product 1 is.",
      "id": 1,
      "name": "Product 1",
      "price": {
        "amount": 250,
        "currency": "EUR"
      },
      "sku": "SKU-1"
    }
    "#);
    app.customer(1).buy(1, 3, "a").await.expect(201);
    app.shows(1, 2).await;
    app.finish().await;
}

#[tokio::test]
async fn an_unknown_product_is_not_found() {
    let app = TestApp::builder().product(5).start().await;
    let anybody = app.anybody();
    assert_snapshot!(anybody.get("/api/v1/products/2").await.shown(), @r#"
    404
    content-type: application/problem+json
    {
      "detail": "There is no such product.",
      "status": 404,
      "title": "Not found",
      "type": "/problems/not-found"
    }
    "#);
    for id in ["0", "-1", "one", "1.0", "9223372036854775808", "%31%30", "1%00"] {
        let answer = anybody.get(&format!("/api/v1/products/{id}")).await.expect(404);
        assert_eq!(answer.brief(), "404 not-found: There is no such product.", "{id}");
    }
    app.finish().await;
}

#[tokio::test]
async fn the_catalogue_comes_in_id_order() {
    let app = TestApp::builder().product(5).priced(0, 0, "JPY").start().await;
    assert_snapshot!(app.anybody().get("/api/v1/products").await.shown(), @r#"
    200
    content-type: application/json
    {
      "items": [
        {
          "as_of": "[time]",
          "available": 5,
          "category": "odd",
          "description": "What product 1 is.",
          "id": 1,
          "name": "Product 1",
          "price": {
            "amount": 250,
            "currency": "EUR"
          },
          "sku": "SKU-1"
        },
        {
          "as_of": "[time]",
          "available": 0,
          "category": "even",
          "description": "What product 2 is.",
          "id": 2,
          "name": "Product 2",
          "price": {
            "amount": 0,
            "currency": "JPY"
          },
          "sku": "SKU-2"
        }
      ]
    }
    "#);
    app.finish().await;
}

#[tokio::test]
async fn the_pages_of_the_catalogue_hold_every_product_once() {
    let app = TestApp::builder().products(7, 1).start().await;
    let anybody = app.anybody();
    let (mut seen, mut path, mut pages) = (Vec::new(), "/api/v1/products?limit=3".to_owned(), 0);
    loop {
        let page = anybody.get(&path).await.expect(200);
        seen.extend(ids(&page));
        pages += 1;
        match page.json()["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/products?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!((seen, pages), (vec![1, 2, 3, 4, 5, 6, 7], 3));
    assert_eq!(ids(&anybody.get("/api/v1/products?cursor=7").await), [0_i64; 0]);
    app.finish().await;
}

#[tokio::test]
async fn products_are_found_by_part_of_a_name_or_sku_in_any_case() {
    let app = TestApp::builder().products(12, 1).start().await;
    let anybody = app.anybody();
    for (query, found) in [
        ("q=product%202", &[2_i64][..]),
        ("q=PRODUCT+1", &[1, 10, 11, 12]),
        ("q=sku-3", &[3]),
        ("q=", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        ("q=nothing", &[]),
        // Signs that mean something to the database mean nothing to the customer.
        ("q=%25", &[]),
        ("q=_", &[]),
        ("q=%5C", &[]),
        ("q=%27%20OR%201%3D1%20--", &[]),
    ] {
        let answer = anybody.get(&format!("/api/v1/products?{query}")).await.expect(200);
        assert_eq!(ids(&answer), found, "{query}");
    }
    app.finish().await;
}

#[tokio::test]
async fn products_are_found_by_category_and_text_together() {
    let app = TestApp::builder().products(12, 1).start().await;
    let anybody = app.anybody();
    let answer = anybody.get("/api/v1/products?category=even&q=product+1&limit=1").await.expect(200);
    assert_eq!((ids(&answer), answer.json()["next_cursor"].as_str()), (vec![10], Some("10")));
    let answer = anybody.get("/api/v1/products?category=even&q=product+1&limit=1&cursor=10").await;
    assert_eq!(ids(&answer), [12]);
    assert_eq!(ids(&anybody.get("/api/v1/products?category=Even").await), [0_i64; 0]);
    app.finish().await;
}

#[tokio::test]
async fn a_page_of_0_or_101_products_is_refused() {
    let app = TestApp::builder().product(1).start().await;
    let anybody = app.anybody();
    assert_snapshot!(
        app.refuses(anybody.get("/api/v1/products?limit=0")).await,
        @"422 invalid-request: limit: a page has 1 to 100 items"
    );
    assert_snapshot!(
        app.refuses(anybody.get("/api/v1/products?limit=101")).await,
        @"422 invalid-request: limit: a page has 1 to 100 items"
    );
    assert_snapshot!(
        app.refuses(anybody.get("/api/v1/products?limit=-1")).await,
        @"400 malformed-request: Failed to deserialize query string: limit: invalid digit found in string"
    );
    anybody.get("/api/v1/products?limit=100").await.expect(200);
    app.finish().await;
}

#[tokio::test]
async fn a_cursor_that_the_catalogue_did_not_give_is_refused() {
    let app = TestApp::builder().product(1).start().await;
    let anybody = app.anybody();
    assert_snapshot!(
        app.refuses(anybody.get("/api/v1/products?cursor=first")).await,
        @"400 malformed-request: Failed to deserialize query string: cursor: invalid digit found in string"
    );
    assert_snapshot!(
        app.refuses(anybody.get("/api/v1/products?cursor=")).await,
        @"400 malformed-request: Failed to deserialize query string: cursor: cannot parse integer from empty string"
    );
    app.finish().await;
}

#[tokio::test]
async fn an_unknown_or_repeated_parameter_of_the_catalogue_is_refused() {
    let app = TestApp::builder().product(1).start().await;
    let anybody = app.anybody();
    assert_snapshot!(
        app.refuses(anybody.get("/api/v1/products?page=2")).await,
        @"400 malformed-request: Failed to deserialize query string: page: unknown field `page`, expected one of `q`, `category`, `limit`, `cursor`"
    );
    assert_snapshot!(
        app.refuses(anybody.get("/api/v1/products?limit=1&limit=2")).await,
        @"400 malformed-request: Failed to deserialize query string: duplicate field `limit`"
    );
    app.finish().await;
}

#[tokio::test]
async fn a_search_for_more_than_200_characters_or_control_characters_is_refused() {
    let app = TestApp::builder().product(1).start().await;
    let anybody = app.anybody();
    let long = format!("/api/v1/products?q={}", "ä".repeat(201).replace('ä', "%C3%A4"));
    assert_snapshot!(
        app.refuses(anybody.get(&long)).await,
        @"422 invalid-request: q: has to have 0 to 200 characters"
    );
    assert_snapshot!(
        app.refuses(anybody.get("/api/v1/products?q=%00")).await,
        @"422 invalid-request: q: has a control character"
    );
    app.finish().await;
}
