//! Views that several servers keep: fresh on all of them soon after a sale on one, not only when they expire.

mod cluster {
    use std::time::Duration;

    use tokio::time::Instant;

    use crate::events::finish;
    use crate::support::profile::Stores;
    use crate::support::test_app::TestApp;
    use crate::support::wait_for;

    /// Views expire after five seconds by themselves.
    const SOON: Duration = Duration::from_secs(3);

    #[tokio::test]
    async fn a_sale_on_one_server_is_shown_by_all_before_their_views_expire() {
        let app = TestApp::builder().product(50).start_over(Stores::cluster_with_kafka().await).await;
        let (anybody, customer) = (app.anybody(), app.customer(5));
        let shown = async || anybody.get("/api/v1/products/1").await.expect(200).json()["available"].as_i64();
        // Consumers join their groups first.
        customer.buy(1, 1, "first").await.expect(201);
        super::super::caught_up(&app).await;
        for n in 0..5 {
            // Every server has it in its own cache.
            for _ in 0..2 * app.servers() {
                shown().await;
            }
            customer.buy(1, 2, &format!("key-{n}")).await.expect(201);
            let (left, since) = (Some(49 - 2 * (n + 1)), Instant::now());
            let mut right = 0;
            wait_for("every server shows what is left", SOON, async || {
                right = if shown().await == left { right + 1 } else { 0 };
                right >= 2 * app.servers()
            })
            .await;
            eprintln!("both servers show the sale after {:?}", since.elapsed());
        }
        finish(app).await;
    }
}
