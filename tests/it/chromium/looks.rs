//! Every page for everybody, light, and as fast as Lighthouse wants it.

use super::tell;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_for_everybody_and_light() {
    tell(&["accessibility", "weight", "lighthouse"]).await;
}
