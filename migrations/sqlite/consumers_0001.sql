-- What the consumer groups of the embedded profile have made of the events. A file of its own, so that no
-- sale waits for it. Times are milliseconds since 1970 UTC.

-- How far each group has read the outbox.
CREATE TABLE consumer_offsets (
    consumer_group TEXT    NOT NULL PRIMARY KEY,
    position       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The last event of a saga that a consumer group has taken in, for each topic: nothing is taken in twice.
CREATE TABLE consumed_events (
    consumer_group TEXT    NOT NULL,
    saga_id        BLOB    NOT NULL,
    topic          TEXT    NOT NULL,
    sequence       INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, saga_id, topic)
) STRICT, WITHOUT ROWID;

-- What no group could read.
CREATE TABLE dead_letters (
    id             INTEGER PRIMARY KEY,
    consumer_group TEXT    NOT NULL,
    topic          TEXT    NOT NULL,
    position       INTEGER NOT NULL,
    reason         TEXT    NOT NULL,
    payload        BLOB    NOT NULL,
    UNIQUE (consumer_group, position)
) STRICT;

-- Mails to customers. What they say is made of the order when they are sent or shown.
CREATE TABLE mails (
    order_id   BLOB    NOT NULL,
    kind       TEXT    NOT NULL,
    user_id    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('waiting', 'sent', 'refused', 'unaddressed')),
    attempts   INTEGER NOT NULL DEFAULT 0,
    -- When it is tried next; somebody who tries it moves this on first.
    due_at     INTEGER NOT NULL,
    sent_at    INTEGER,
    error      TEXT,
    PRIMARY KEY (order_id, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX mails_waiting ON mails (due_at) WHERE state = 'waiting';

-- Minutes count from 1970 UTC, by the time of the event.
CREATE TABLE sales_by_minute (
    minute          INTEGER NOT NULL,
    currency        TEXT    NOT NULL,
    sales           INTEGER NOT NULL,
    units           INTEGER NOT NULL,
    revenue_minor   INTEGER NOT NULL,
    cancelled_sales INTEGER NOT NULL,
    cancelled_units INTEGER NOT NULL,
    cancelled_minor INTEGER NOT NULL,
    PRIMARY KEY (minute, currency)
) STRICT, WITHOUT ROWID;

CREATE TABLE sales_by_product (
    product_id      INTEGER NOT NULL,
    currency        TEXT    NOT NULL,
    sales           INTEGER NOT NULL,
    units           INTEGER NOT NULL,
    revenue_minor   INTEGER NOT NULL,
    cancelled_sales INTEGER NOT NULL,
    cancelled_units INTEGER NOT NULL,
    cancelled_minor INTEGER NOT NULL,
    PRIMARY KEY (product_id, currency)
) STRICT, WITHOUT ROWID;

CREATE TABLE failures_by_minute (
    minute INTEGER NOT NULL,
    reason TEXT    NOT NULL,
    orders INTEGER NOT NULL,
    PRIMARY KEY (minute, reason)
) STRICT, WITHOUT ROWID;

-- Sagas as their events tell of them, until they have ended and agree with the ledger.
CREATE TABLE watched_sagas (
    saga_id  BLOB    NOT NULL PRIMARY KEY,
    -- Events seen, and the number of the last one: equal when none is missing.
    seen     INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    ending   TEXT,
    -- By the clock of whoever took the event in.
    heard_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX watched_sagas_by_time ON watched_sagas (heard_at);

-- What is wrong with sagas, as far as their events tell.
CREATE TABLE saga_findings (
    saga_id  BLOB    NOT NULL,
    kind     TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    found_at INTEGER NOT NULL,
    PRIMARY KEY (saga_id, kind)
) STRICT, WITHOUT ROWID;
