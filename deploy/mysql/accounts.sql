-- What the primary has before anybody uses it: the database, the account of the shop and that of the replica. Each
-- ${NAME} is replaced by whoever runs this, because passwords differ.

CREATE DATABASE IF NOT EXISTS holdfast;

CREATE USER IF NOT EXISTS 'holdfast'@'%' IDENTIFIED BY '${PASSWORD}';
GRANT ALL ON holdfast.* TO 'holdfast'@'%';
-- Shows which member is which, and what a group says of its members.
GRANT REPLICATION CLIENT ON *.* TO 'holdfast'@'%';
GRANT SELECT ON performance_schema.replication_group_members TO 'holdfast'@'%';

CREATE USER IF NOT EXISTS 'replication'@'%' IDENTIFIED BY '${REPLICATION_PASSWORD}' REQUIRE SSL;
GRANT REPLICATION SLAVE ON *.* TO 'replication'@'%';
