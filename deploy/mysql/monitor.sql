-- Whoever watches the database: sees how it is, and nothing of the shop. Run once, on the primary. Each ${NAME} is
-- replaced by whoever runs this.

CREATE USER IF NOT EXISTS 'monitor'@'%' IDENTIFIED BY '${MONITOR_PASSWORD}' REQUIRE SSL WITH MAX_USER_CONNECTIONS 5;
GRANT PROCESS, REPLICATION CLIENT ON *.* TO 'monitor'@'%';
GRANT SELECT ON performance_schema.* TO 'monitor'@'%';
