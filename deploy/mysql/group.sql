-- Prepares a new member of the group. Each ${NAME} is replaced by whoever runs this.

-- What was written while its data was made concerns nobody.
RESET BINARY LOGS AND GTIDS;

-- As whom it fetches what it missed.
CHANGE REPLICATION SOURCE TO SOURCE_USER = 'replication', SOURCE_PASSWORD = '${REPLICATION_PASSWORD}'
    FOR CHANNEL 'group_replication_recovery';
