-- The ledger of the cluster profile. Times are milliseconds since 1970 UTC; money is minor units.
-- Order ids are UUIDs v7 in 16 bytes, so that new rows are written side by side at the end.

CREATE TABLE accounts (
    id            BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    email         VARCHAR(254) NOT NULL,
    -- In small letters. No collation compares like this: the ones that ignore case ignore more than case.
    email_lower   VARCHAR(254) NOT NULL UNIQUE,
    password_hash VARCHAR(512) NOT NULL,
    role          VARCHAR(16)  NOT NULL CHECK (role IN ('customer', 'admin')),
    created_at    BIGINT       NOT NULL,
    KEY accounts_by_role (role)
-- Accounts count from ten million: smaller user ids are free for customers that come with imported
-- orders and for tokens made by scripts.
) AUTO_INCREMENT = 10000001 DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE products (
    id          BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    -- Real stock codes differ by case alone.
    sku         VARCHAR(255) NOT NULL UNIQUE,
    name        VARCHAR(1000) NOT NULL COLLATE utf8mb4_0900_as_ci,
    description TEXT         NOT NULL,
    category    VARCHAR(255) NOT NULL,
    price_minor BIGINT       NOT NULL CHECK (price_minor >= 0),
    currency    CHAR(3)      NOT NULL,
    stock       BIGINT       NOT NULL CHECK (stock >= 0),
    reserved    BIGINT       NOT NULL DEFAULT 0,
    version     BIGINT       NOT NULL DEFAULT 1,
    created_at  BIGINT       NOT NULL,
    updated_at  BIGINT       NOT NULL,
    -- The guard of every sale.
    CONSTRAINT products_not_oversold CHECK (reserved >= 0 AND reserved <= stock),
    -- Serves the catalogue by category. Stock is left out: it changes with every sale, and no query asks
    -- for it by value.
    KEY products_by_category (category, id)
) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE orders (
    id          BINARY(16)  NOT NULL PRIMARY KEY,
    user_id     BIGINT      NOT NULL,
    status      VARCHAR(16) NOT NULL CHECK (status IN ('PENDING', 'CONFIRMED', 'FAILED', 'CANCELLED')),
    reason      VARCHAR(64),
    total_minor BIGINT      NOT NULL CHECK (total_minor >= 0),
    currency    CHAR(3)     NOT NULL,
    key_digest  BINARY(16)  NOT NULL,
    body_digest BINARY(16)  NOT NULL,
    event_count INT         NOT NULL,
    version     BIGINT      NOT NULL DEFAULT 1,
    created_at  BIGINT      NOT NULL,
    updated_at  BIGINT      NOT NULL,
    -- A customer's orders, newest first.
    KEY orders_by_user (user_id, id)
) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_0900_bin;

-- Which order a customer's key stands for. Rows older than a day are deleted, so that this index over
-- random keys stays small.
CREATE TABLE purchase_keys (
    user_id    BIGINT     NOT NULL,
    key_digest BINARY(16) NOT NULL,
    order_id   BINARY(16) NOT NULL,
    created_at BIGINT     NOT NULL,
    PRIMARY KEY (user_id, key_digest)
);

CREATE TABLE order_lines (
    order_id         BINARY(16)    NOT NULL,
    product_id       BIGINT        NOT NULL,
    sku              VARCHAR(255)  NOT NULL,
    name             VARCHAR(1000) NOT NULL,
    quantity         INT UNSIGNED  NOT NULL CHECK (quantity > 0),
    unit_price_minor BIGINT        NOT NULL CHECK (unit_price_minor >= 0),
    PRIMARY KEY (order_id, product_id)
) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_0900_bin;

-- Sagas that are not finished, and tombstones. A finished saga's row is deleted with the commit
-- that finishes it, so this table is also the index of orders that are still on their way.
CREATE TABLE saga_states (
    saga_id       BINARY(16)   NOT NULL PRIMARY KEY,
    current_step  VARCHAR(32)  NOT NULL,
    -- The reason, once it may only be undone.
    undoing       VARCHAR(64),
    cancel_wanted TINYINT      NOT NULL DEFAULT 0,
    stuck         TINYINT      NOT NULL DEFAULT 0,
    tombstone     TINYINT      NOT NULL DEFAULT 0,
    -- The payment token, for repeating the charge.
    state_data    TEXT,
    owner         BINARY(16)   NOT NULL,
    epoch         INT UNSIGNED NOT NULL,
    updated_at    BIGINT       NOT NULL
) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_0900_bin;

-- Servers that live, by the clock of this database.
CREATE TABLE instances (
    instance_id  BINARY(16) NOT NULL PRIMARY KEY,
    heartbeat_at BIGINT     NOT NULL
);

CREATE TABLE inventory_logs (
    id            BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    product_id    BIGINT       NOT NULL,
    change_amount BIGINT       NOT NULL CHECK (change_amount <> 0),
    order_id      BINARY(16),
    reason        VARCHAR(255) NOT NULL,
    created_at    BIGINT       NOT NULL
) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_0900_bin;

-- The events of each commit, one row a saga and commit: a JSON array of their types and data, numbered
-- from first_sequence. Kept as the orders' history; the ids are the positions of the event log.
CREATE TABLE outbox (
    position       BIGINT     NOT NULL AUTO_INCREMENT PRIMARY KEY,
    saga_id        BINARY(16) NOT NULL,
    first_sequence INT        NOT NULL,
    events         MEDIUMTEXT NOT NULL,
    created_at     BIGINT     NOT NULL,
    UNIQUE KEY outbox_by_saga (saga_id, first_sequence)
) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE stock_adjustments (
    key_digest  BINARY(16) NOT NULL PRIMARY KEY,
    body_digest BINARY(16) NOT NULL,
    created_at  BIGINT     NOT NULL
);
