//! Buying, live pages, the manners of forms, and the administration.

use super::tell;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_buy_and_administrators_sell() {
    tell(&["buying", "live", "manners", "administration"]).await;
}
