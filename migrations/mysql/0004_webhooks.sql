-- Addresses of the shop's owners that are told of orders. Times are milliseconds since 1970 UTC.
CREATE TABLE webhook_endpoints (
    id             BINARY(16)    NOT NULL PRIMARY KEY,
    url            VARCHAR(2000) NOT NULL,
    description    VARCHAR(500)  NOT NULL,
    -- The kinds that it wants, with spaces between them; NULL for all.
    wanted         VARCHAR(500),
    -- Why nothing is sent to it; NULL while it is enabled.
    disabled       VARCHAR(16) CHECK (disabled IN ('administrator', 'gone', 'failing')),
    secret         BINARY(32)    NOT NULL,
    -- The one before, and until when it signs too.
    old_secret     BINARY(32),
    old_until      BIGINT,
    created_at     BIGINT        NOT NULL,
    -- First and last of its failures since its last success.
    failing_since  BIGINT,
    last_failed_at BIGINT,
    -- It is gone as soon as its deliveries are swept.
    deleted        INT           NOT NULL DEFAULT 0
) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_0900_bin;

-- One event on its way to one endpoint. What it says is made of the event when it is sent.
CREATE TABLE webhook_deliveries (
    endpoint_id  BINARY(16)   NOT NULL,
    saga_id      BINARY(16)   NOT NULL,
    sequence     INT          NOT NULL,
    kind         VARCHAR(32)  NOT NULL,
    -- When the event happened.
    at           BIGINT       NOT NULL,
    state        VARCHAR(16)  NOT NULL CHECK (state IN ('waiting', 'delivered', 'failed', 'skipped')),
    attempts     INT          NOT NULL DEFAULT 0,
    -- When it is tried next; somebody who tries it moves this on first.
    due_at       BIGINT       NOT NULL,
    delivered_at BIGINT,
    -- Of the last answer.
    status       INT,
    error        VARCHAR(500),
    PRIMARY KEY (endpoint_id, saga_id, sequence),
    KEY webhook_deliveries_due (endpoint_id, state, due_at),
    KEY webhook_deliveries_by_time (endpoint_id, at)
) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_0900_bin;
