-- What a group has beside accounts.sql. Run once, on its primary.

GRANT CONNECTION_ADMIN, BACKUP_ADMIN, GROUP_REPLICATION_STREAM ON *.* TO 'replication'@'%';

-- Shows which member is which.
GRANT SELECT ON performance_schema.replication_group_members TO 'holdfast'@'%';
