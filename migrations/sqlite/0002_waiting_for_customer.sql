-- A payment may need its customer first. Such a saga rests here; nobody drives it.

-- Until when it may: NULL unless it waits.
ALTER TABLE saga_states ADD COLUMN waiting_until INTEGER;
-- When it is due to be looked at. On a saga that does not wait it is a mark: somebody has said meanwhile that the
-- customer acted, so it is due as soon as it waits again.
ALTER TABLE saga_states ADD COLUMN look_at INTEGER;
-- What the customer has to do, as JSON. Stays while somebody looks.
ALTER TABLE saga_states ADD COLUMN next_action TEXT;

CREATE INDEX saga_states_due ON saga_states (look_at) WHERE waiting_until IS NOT NULL;
