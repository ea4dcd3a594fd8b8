-- Tells a new replica whom to follow. Each ${NAME} is replaced by whoever runs this.

-- What was written while its data was made concerns nobody.
RESET BINARY LOGS AND GTIDS;

-- Tries never end: a primary may be away for long.
CHANGE REPLICATION SOURCE TO SOURCE_HOST = '${PRIMARY_HOST}', SOURCE_PORT = ${PRIMARY_PORT},
    SOURCE_USER = 'replication', SOURCE_PASSWORD = '${REPLICATION_PASSWORD}',
    SOURCE_SSL = 1, SOURCE_AUTO_POSITION = 1, SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 0;
