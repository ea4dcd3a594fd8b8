-- The ledger of the embedded profile. Times are milliseconds since 1970 UTC; money is minor units.
-- Order ids are UUIDs v7 in 16 bytes, so that new rows are written side by side at the end.

CREATE TABLE accounts (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    email         TEXT    NOT NULL COLLATE NOCASE UNIQUE,
    password_hash TEXT    NOT NULL,
    role          TEXT    NOT NULL CHECK (role IN ('customer', 'admin')),
    created_at    INTEGER NOT NULL
) STRICT;
-- Accounts count from ten million: smaller user ids are free for customers that come with imported
-- orders and for tokens made by scripts.
INSERT INTO sqlite_sequence (name, seq) VALUES ('accounts', 10000000);

CREATE TABLE products (
    id          INTEGER PRIMARY KEY,
    sku         TEXT    NOT NULL UNIQUE,
    name        TEXT    NOT NULL,
    description TEXT    NOT NULL,
    category    TEXT    NOT NULL,
    price_minor INTEGER NOT NULL CHECK (price_minor >= 0),
    currency    TEXT    NOT NULL CHECK (length(currency) = 3),
    stock       INTEGER NOT NULL CHECK (stock >= 0),
    reserved    INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0 AND reserved <= stock),
    version     INTEGER NOT NULL DEFAULT 1,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;
-- Serves the catalogue by category. Stock is left out: it changes with every sale, and no query
-- asks for it by value.
CREATE INDEX products_by_category ON products (category, id);

CREATE TABLE orders (
    id          BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    user_id     INTEGER NOT NULL,
    status      TEXT    NOT NULL CHECK (status IN ('PENDING', 'CONFIRMED', 'FAILED', 'CANCELLED')),
    reason      TEXT,
    total_minor INTEGER NOT NULL CHECK (total_minor >= 0),
    currency    TEXT    NOT NULL,
    key_digest  BLOB    NOT NULL,
    body_digest BLOB    NOT NULL,
    event_count INTEGER NOT NULL,
    version     INTEGER NOT NULL DEFAULT 1,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A customer's orders in order of time; with the key, so that a retry finds its order without an index
-- over random keys. Written behind the orders: complete up to the order that the progress names.
CREATE TABLE orders_by_customer (
    user_id    INTEGER NOT NULL,
    order_id   BLOB    NOT NULL,
    key_digest BLOB    NOT NULL,
    PRIMARY KEY (user_id, order_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE customer_index_progress (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    complete_until BLOB    NOT NULL
) STRICT;

CREATE TABLE order_lines (
    order_id         BLOB    NOT NULL,
    product_id       INTEGER NOT NULL,
    sku              TEXT    NOT NULL,
    name             TEXT    NOT NULL,
    quantity         INTEGER NOT NULL CHECK (quantity > 0),
    unit_price_minor INTEGER NOT NULL CHECK (unit_price_minor >= 0),
    PRIMARY KEY (order_id, product_id)
) STRICT, WITHOUT ROWID;

-- Sagas that are not finished, and tombstones. A finished saga's row is deleted with the commit
-- that finishes it, so this table is also the index of orders that are still on their way.
CREATE TABLE saga_states (
    saga_id       BLOB    NOT NULL PRIMARY KEY CHECK (length(saga_id) = 16),
    current_step  TEXT    NOT NULL,
    undoing       TEXT,              -- the reason, once it may only be undone
    cancel_wanted INTEGER NOT NULL DEFAULT 0 CHECK (cancel_wanted IN (0, 1)),
    stuck         INTEGER NOT NULL DEFAULT 0 CHECK (stuck IN (0, 1)),
    tombstone     INTEGER NOT NULL DEFAULT 0 CHECK (tombstone IN (0, 1)),
    state_data    TEXT,              -- the payment token, for repeating the charge
    owner         BLOB    NOT NULL,
    epoch         INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE inventory_logs (
    id            INTEGER PRIMARY KEY,
    product_id    INTEGER NOT NULL,
    change_amount INTEGER NOT NULL CHECK (change_amount <> 0),
    order_id      BLOB,
    reason        TEXT    NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;

-- The events of each commit, one row a saga and commit: a JSON array of their types and data, numbered
-- from first_sequence. Kept as the orders' history; the ids are the positions of the event log.
CREATE TABLE outbox (
    position       INTEGER PRIMARY KEY,
    saga_id        BLOB    NOT NULL,
    first_sequence INTEGER NOT NULL,
    events         TEXT    NOT NULL,
    created_at     INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX outbox_by_saga ON outbox (saga_id, first_sequence);

CREATE TABLE stock_adjustments (
    key_digest  BLOB    NOT NULL PRIMARY KEY,
    body_digest BLOB    NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
