//! Messages that nobody can decode: put aside and listed, while everybody goes on.

mod cluster {
    use holdfast::domain::cloud_event::{SIZE_MAX, encode};
    use holdfast::ports::event_log::{DeadLetter, Group};
    use serde_json::{Value, json};

    use crate::events::{caught_up, finish};
    use crate::support::kafka;
    use crate::support::profile::Stores;
    use crate::support::test_app::TestApp;

    #[tokio::test]
    async fn poison_of_every_kind_is_put_aside_and_the_consumers_go_on() {
        let stores = Stores::cluster_with_kafka().await;
        let topics = stores.in_cluster().and_then(|cluster| cluster.topics.clone()).expect("topics");
        let app = TestApp::builder().product(10).start_over(stores).await;
        let customer = app.customer(5);
        let id = customer.buy(1, 1, "a").await.expect(201).id();
        let events = app.shop.stores.ledger.events_of(id.parse().expect("an id")).await.expect("events");
        let good: Value = serde_json::from_slice(&encode(&events[2])).expect("JSON");
        let changed = |name: &str, value: Value| {
            let mut changed = good.clone();
            changed[name] = value;
            changed.to_string().into_bytes()
        };
        let mut without = good.clone();
        without["data"].as_object_mut().expect("an object").remove("total");
        let poison: [(&str, Vec<u8>); 8] = [
            ("it is not JSON", b"a letter to my aunt".to_vec()),
            ("it is not JSON", b"\xff\xfe\x00".to_vec()),
            ("it is not JSON", Vec::new()),
            ("it is not an event: the type", changed("type", json!("holdfast.OrderEaten"))),
            ("it is not an event: missing field `total`", without.to_string().into_bytes()),
            ("it is not an event", changed("data", json!({ "order_id": 7 }))),
            ("bytes are more than an event has", vec![b'x'; SIZE_MAX + 1]),
            ("it was written by a newer version", changed("schemaversion", json!(2))),
        ];
        for (_, payload) in &poison {
            kafka::send(&format!("{topics}order-events"), payload).await;
        }
        customer.buy(1, 2, "b").await.expect(201);
        caught_up(&app).await;

        let log = app.shop.stores.log.clone().expect("a log");
        let letters = log.dead_letters(1_000).await.expect("the log answers");
        for group in Group::ALL {
            let of_group: Vec<_> = letters.iter().filter(|letter| letter.group == group.as_str()).collect();
            assert_eq!(of_group.len(), poison.len(), "{group} has put each aside once");
            for (reason, payload) in &poison {
                let letter =
                    of_group.iter().find(|letter| letter.payload == *payload).expect("it is kept as it came");
                assert!(letter.reason.contains(reason), "{}: {reason}", letter.reason);
            }
        }
        // What a newer version could decode is left for it; what this one can decode goes back.
        let newer = letters.iter().find(|letter| letter.reason.contains("newer")).expect("one of them");
        assert!(!log.resend(newer).await.expect("the log answers"));
        let mended = DeadLetter { payload: encode(&events[2]), ..newer.clone() };
        assert!(log.resend(&mended).await.expect("the log answers"));
        caught_up(&app).await;
        assert_eq!(log.dead_letters(1_000).await.expect("the log answers").len(), letters.len());
        finish(app).await;
    }
}
