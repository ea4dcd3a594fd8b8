//! The contract of each port: one function a behaviour, written against the trait, so that every
//! adapter runs the same ones. To add an adapter, add a `suite!` under the functions.

mod consumer_store;
mod event_log;
mod ledger;
mod lock;
mod members;
mod outbox;
mod payments;
mod stock_gate;
mod store_file;
mod stripe;
mod view_cache;
mod webhooks;

/// Tests of one adapter: each named function of the enclosing module runs over a fresh `$make`.
macro_rules! suite {
    ($adapter:ident, $make:expr, [$($behaviour:ident),+ $(,)?]) => {
        mod $adapter {
            $(
                #[tokio::test]
                async fn $behaviour() {
                    super::$behaviour($make).await;
                }
            )+
        }
    };
    ($adapter:ident, paused, $make:expr, [$($behaviour:ident),+ $(,)?]) => {
        mod $adapter {
            $(
                #[tokio::test(start_paused = true)]
                async fn $behaviour() {
                    super::$behaviour($make).await;
                }
            )+
        }
    };
}
pub(crate) use suite;
