//! Which member of the database is asked: over the real primary and its replica.

mod cluster {
    use std::time::Duration;

    use holdfast::adapters::mysql::{Feed, MysqlLedger, OpenError, Settings};
    use holdfast::ports::ledger::Ledger as _;

    use crate::support::database::Database;
    use crate::support::goods::{driver, stock};
    use crate::support::wait_for;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn settings(url: &str) -> Settings {
        Settings::parse(url, Database::password().into(), 12).expect("a URL")
    }

    #[tokio::test]
    async fn products_are_read_from_the_replica_and_orders_from_the_primary() {
        let database = Database::replicated().await;
        let ledger =
            MysqlLedger::open(&settings(&database.url_of_all()), Feed::default()).await.expect("it opens");
        let product = stock(&ledger, &[5]).await[0];
        // How old a replica is, is told by what servers say.
        let server = driver(1).instance;
        ledger.heartbeat(server).await.expect("answers");
        wait_for("the replica has the product", PATIENCE, async || {
            ledger.product(product).await.expect("answers").is_some()
        })
        .await;
        // The look-out has one connection to each member from the beginning.
        wait_for("views are read from the replica", PATIENCE, async || {
            ledger.heartbeat(server).await.expect("answers");
            for _ in 0..5 {
                ledger.product(product).await.expect("answers");
            }
            database.connections_to_replica().await > 1
        })
        .await;
        let before = database.connections_to_replica().await;
        for _ in 0..5 {
            ledger.orders_of(holdfast::domain::UserId(1), None, 5).await.expect("answers");
        }
        assert_eq!(database.connections_to_replica().await, before);
    }

    #[tokio::test]
    async fn two_that_both_say_that_they_can_be_written_are_not_used() {
        let database = Database::fresh().await;
        let url = database.url();
        let (user, rest) = url.split_once('@').expect("a user");
        let (host, name) = rest.split_once('/').expect("a database");
        let twice = format!("{user}@{host},{host}/{name}");
        let refused =
            MysqlLedger::open(&settings(&twice), Feed::default()).await.err().expect("neither is used");
        let OpenError::Unreachable { reason, .. } = refused else { panic!("{refused}") };
        assert!(reason.contains("both say that they can be written"), "{reason}");
    }

    #[tokio::test]
    async fn a_replica_alone_is_no_ledger() {
        let database = Database::replicated().await;
        let all = database.url_of_all();
        let (before, name) = all.rsplit_once('/').expect("a database");
        let (user, hosts) = before.split_once('@').expect("a user");
        let replica = hosts.split(',').nth(1).expect("the services have a replica");
        let url = format!("{user}@{replica}/{name}");
        wait_for("the replica has the database", PATIENCE, async || {
            let refused =
                MysqlLedger::open(&settings(&url), Feed::default()).await.err().expect("nobody can write");
            refused.to_string().contains("is read-only")
        })
        .await;
    }
}
