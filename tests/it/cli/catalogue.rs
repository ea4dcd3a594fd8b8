//! A catalogue, imported from a file and looked at through the shop.

use serde_json::{Value, json};

use crate::support::process::Site;

const CATALOGUE: &str = "sku,name,description,category,price,currency,stock
MUG-1,\"Mug, large\",\"Holds a pint.
Dishwasher safe.\",kitchen,12.50,EUR,7
TEA-1,Tee für zwei 茶,,,500,JPY,0
GIFT,Sticker,Free with everything,,0,EUR,1000000000
";

#[tokio::test]
async fn an_imported_catalogue_is_what_the_shop_shows() {
    let site = Site::new();
    let imported = site.import(CATALOGUE).await;
    assert_eq!(imported, json!({ "products": 3, "units": 1_000_000_007, "summary": null }));

    let server = site.shop().open().await;
    let mut client = server.client("").await;
    let page = client.get("/api/v1/products").await;
    let shown = |product: &Value| {
        json!([
            product["sku"],
            product["name"],
            product["description"],
            product["category"],
            product["price"],
            product["available"]
        ])
    };
    let products: Vec<Value> = page["items"].as_array().expect("a page").iter().map(shown).collect();
    let euro = |minor: i64| json!({ "amount": minor, "currency": "EUR" });
    let yen = json!({ "amount": 500, "currency": "JPY" });
    let expected = [
        json!(["MUG-1", "Mug, large", "Holds a pint.\nDishwasher safe.", "kitchen", euro(1_250), 7]),
        json!(["TEA-1", "Tee für zwei 茶", "", "", yen, 0]),
        json!(["GIFT", "Sticker", "Free with everything", "", euro(0), 1_000_000_000]),
    ];
    assert_eq!(products, expected);
    for product in page["items"].as_array().expect("a page") {
        let one = client.get(&format!("/api/v1/products/{}", product["id"])).await;
        assert_eq!(shown(&one), shown(product));
    }
    let kitchen = client.get("/api/v1/products?category=kitchen").await;
    assert_eq!(kitchen["items"].as_array().map(Vec::len), Some(1));
    server.stop().await;
    site.audited().await;
}

#[tokio::test]
async fn a_second_catalogue_is_added_to_the_first() {
    let site = Site::new();
    site.import("sku,name,price,currency,stock\na,A,1.00,EUR,1\n").await;
    site.import("sku,name,price,currency,stock\nb,B,1.00,EUR,1\n").await;
    let server = site.shop().open().await;
    let page = server.client("").await.get("/api/v1/products").await;
    let skus: Vec<_> =
        page["items"].as_array().expect("a page").iter().map(|product| product["sku"].clone()).collect();
    assert_eq!(skus, ["a", "b"]);
}
