-- Addresses of the shop's owners that are told of orders.
CREATE TABLE webhook_endpoints (
    id             BLOB    NOT NULL PRIMARY KEY,
    url            TEXT    NOT NULL,
    description    TEXT    NOT NULL,
    -- The kinds that it wants, with spaces between them; NULL for all.
    wanted         TEXT,
    -- Why nothing is sent to it; NULL while it is enabled.
    disabled       TEXT CHECK (disabled IN ('administrator', 'gone', 'failing')),
    secret         BLOB    NOT NULL,
    -- The one before, and until when it signs too.
    old_secret     BLOB,
    old_until      INTEGER,
    created_at     INTEGER NOT NULL,
    -- First and last of its failures since its last success.
    failing_since  INTEGER,
    last_failed_at INTEGER,
    -- It is gone as soon as its deliveries are swept.
    deleted        INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- One event on its way to one endpoint. What it says is made of the event when it is sent.
CREATE TABLE webhook_deliveries (
    endpoint_id  BLOB    NOT NULL,
    saga_id      BLOB    NOT NULL,
    sequence     INTEGER NOT NULL,
    kind         TEXT    NOT NULL,
    -- When the event happened.
    at           INTEGER NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('waiting', 'delivered', 'failed', 'skipped')),
    attempts     INTEGER NOT NULL DEFAULT 0,
    -- When it is tried next; somebody who tries it moves this on first.
    due_at       INTEGER NOT NULL,
    delivered_at INTEGER,
    -- Of the last answer.
    status       INTEGER,
    error        TEXT,
    PRIMARY KEY (endpoint_id, saga_id, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (endpoint_id, due_at) WHERE state = 'waiting';
CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (endpoint_id, at);
