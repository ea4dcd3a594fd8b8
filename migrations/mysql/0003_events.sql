-- What was committed and is not yet known to be in the event log. Rows come at the end and leave soon.
CREATE TABLE outbox_unsent (
    saga_id        BINARY(16) NOT NULL,
    first_sequence INT        NOT NULL,
    created_at     BIGINT     NOT NULL,
    PRIMARY KEY (saga_id, first_sequence)
);

-- The last event of a saga that a consumer group has taken in, for each topic: nothing is taken in twice.
CREATE TABLE consumed_events (
    consumer_group VARCHAR(32) NOT NULL,
    saga_id        BINARY(16)  NOT NULL,
    topic          VARCHAR(32) NOT NULL,
    sequence       INT         NOT NULL,
    PRIMARY KEY (consumer_group, saga_id, topic)
) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_0900_bin;

-- Mails to customers. What they say is made of the order when they are sent or shown.
CREATE TABLE mails (
    order_id   BINARY(16)   NOT NULL,
    kind       VARCHAR(32)  NOT NULL,
    user_id    BIGINT       NOT NULL,
    created_at BIGINT       NOT NULL,
    state      VARCHAR(16)  NOT NULL CHECK (state IN ('waiting', 'sent', 'refused', 'unaddressed')),
    attempts   INT          NOT NULL DEFAULT 0,
    -- When it is tried next; somebody who tries it moves this on first.
    due_at     BIGINT       NOT NULL,
    sent_at    BIGINT,
    error      VARCHAR(500),
    PRIMARY KEY (order_id, kind),
    KEY mails_due (state, due_at)
) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_0900_bin;

-- Minutes count from 1970 UTC, by the time of the event.
CREATE TABLE sales_by_minute (
    minute          BIGINT  NOT NULL,
    currency        CHAR(3) NOT NULL,
    sales           BIGINT  NOT NULL,
    units           BIGINT  NOT NULL,
    revenue_minor   BIGINT  NOT NULL,
    cancelled_sales BIGINT  NOT NULL,
    cancelled_units BIGINT  NOT NULL,
    cancelled_minor BIGINT  NOT NULL,
    PRIMARY KEY (minute, currency)
) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE sales_by_product (
    product_id      BIGINT  NOT NULL,
    currency        CHAR(3) NOT NULL,
    sales           BIGINT  NOT NULL,
    units           BIGINT  NOT NULL,
    revenue_minor   BIGINT  NOT NULL,
    cancelled_sales BIGINT  NOT NULL,
    cancelled_units BIGINT  NOT NULL,
    cancelled_minor BIGINT  NOT NULL,
    PRIMARY KEY (product_id, currency)
) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_0900_bin;

CREATE TABLE failures_by_minute (
    minute BIGINT      NOT NULL,
    reason VARCHAR(64) NOT NULL,
    orders BIGINT      NOT NULL,
    PRIMARY KEY (minute, reason)
) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_0900_bin;

-- Sagas as their events tell of them, until they have ended and agree with the ledger.
CREATE TABLE watched_sagas (
    saga_id    BINARY(16)  NOT NULL PRIMARY KEY,
    -- Events seen, and the number of the last one: equal when none is missing.
    seen       INT         NOT NULL,
    last       INT         NOT NULL,
    ending     VARCHAR(16),
    -- By the clock of whoever took the event in.
    heard_at   BIGINT      NOT NULL,
    KEY watched_sagas_by_time (heard_at)
) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_0900_bin;

-- What is wrong with sagas, as far as their events tell.
CREATE TABLE saga_findings (
    saga_id  BINARY(16)   NOT NULL,
    kind     VARCHAR(32)  NOT NULL,
    detail   VARCHAR(500) NOT NULL,
    found_at BIGINT       NOT NULL,
    PRIMARY KEY (saga_id, kind)
) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_0900_bin;
