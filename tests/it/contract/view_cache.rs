//! What every cache of views promises.

use std::sync::Arc;
use std::time::Duration;

use holdfast::adapters::redis::RedisViewCache;
use holdfast::domain::{ProductId, Timestamp};
use holdfast::ports::view_cache::{View, ViewCache};

use crate::support::goods::now;
use crate::support::redis_cluster::{PATIENCE, cluster, fresh_prefix};
use crate::support::wait_for;

use super::suite;

const A: ProductId = ProductId(1);
const B: ProductId = ProductId(2);

const TTL: Duration = Duration::from_secs(60);

fn view(version: i64, as_of: Timestamp) -> View {
    View { version, as_of, json_head: Some(r#"{"id":1,"name":"Ünïcode"}"#.to_owned()), available: 3 }
}

async fn put(cache: &dyn ViewCache, view: &View) {
    cache.put(A, view, TTL).await.expect("the cache answers");
}

async fn get(cache: &dyn ViewCache, product: ProductId) -> Option<View> {
    cache.get(product).await.expect("the cache answers")
}

async fn a_view_is_kept_as_it_was(cache: Arc<dyn ViewCache>) {
    assert_eq!(get(&*cache, A).await, None);
    let kept = View { available: -2, ..view(i64::MAX / 2, now()) };
    put(&*cache, &kept).await;
    assert_eq!(get(&*cache, A).await, Some(kept));
    assert_eq!(get(&*cache, B).await, None, "another product");
}

async fn an_older_version_never_replaces_a_newer_one(cache: Arc<dyn ViewCache>) {
    let at = now();
    let newer = view(10, at);
    put(&*cache, &newer).await;
    put(&*cache, &view(9, at.plus(Duration::from_secs(5)))).await;
    assert_eq!(get(&*cache, A).await, Some(newer), "however late it was read");
    let newest = view(11, at.minus(Duration::from_secs(1)));
    put(&*cache, &newest).await;
    assert_eq!(get(&*cache, A).await, Some(newest));
}

async fn of_one_version_the_later_moment_wins(cache: Arc<dyn ViewCache>) {
    let at = now();
    let first = view(10, at);
    put(&*cache, &first).await;
    put(&*cache, &View { available: 9, ..view(10, at.minus(Duration::from_millis(1))) }).await;
    assert_eq!(get(&*cache, A).await, Some(first));
    let later = View { available: 1, ..view(10, at.plus(Duration::from_millis(1))) };
    put(&*cache, &later).await;
    assert_eq!(get(&*cache, A).await, Some(later));
}

async fn that_there_is_no_such_product_is_kept_until_there_is_one(cache: Arc<dyn ViewCache>) {
    let none = View { json_head: None, available: 0, ..view(0, now()) };
    put(&*cache, &none).await;
    assert_eq!(get(&*cache, A).await, Some(none.clone()));
    let created = view(1, none.as_of);
    put(&*cache, &created).await;
    put(&*cache, &View { as_of: now().plus(TTL), ..none }).await;
    assert_eq!(get(&*cache, A).await, Some(created));
}

async fn a_view_is_kept_until_its_time_after_it_was_current(cache: Arc<dyn ViewCache>) {
    let old = view(1, now().minus(TTL));
    cache.put(A, &old, TTL / 2).await.expect("the cache answers");
    assert_eq!(get(&*cache, A).await, None, "its time was over");
    let short = view(2, now());
    cache.put(A, &short, Duration::from_millis(1_500)).await.expect("the cache answers");
    assert_eq!(get(&*cache, A).await, Some(short));
    wait_for("the view ends", PATIENCE, async || get(&*cache, A).await.is_none()).await;
    put(&*cache, &old).await;
    put(&*cache, &view(1, now())).await;
    assert!(get(&*cache, A).await.is_some(), "what has ended is in nobody's way");
}

async fn over_redis() -> Arc<RedisViewCache> {
    Arc::new(RedisViewCache::new(cluster().await, &fresh_prefix()))
}

suite!(
    cluster,
    super::over_redis().await,
    [
        a_view_is_kept_as_it_was,
        an_older_version_never_replaces_a_newer_one,
        of_one_version_the_later_moment_wins,
        that_there_is_no_such_product_is_kept_until_there_is_one,
        a_view_is_kept_until_its_time_after_it_was_current,
    ]
);
