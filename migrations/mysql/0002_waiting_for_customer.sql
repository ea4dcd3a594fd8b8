-- A payment may need its customer first. Such a saga rests here; nobody drives it. There is no index: every order
-- would write it, and the table holds only what is on its way.
ALTER TABLE saga_states
    -- Until when it may rest: NULL unless it waits.
    ADD COLUMN waiting_until BIGINT,
    -- When it is due to be looked at. On a saga that does not wait it is a mark: somebody has said meanwhile that
    -- the customer acted, so it is due as soon as it waits again.
    ADD COLUMN look_at       BIGINT,
    -- What the customer has to do, as JSON. Stays while somebody looks.
    ADD COLUMN next_action   TEXT;
