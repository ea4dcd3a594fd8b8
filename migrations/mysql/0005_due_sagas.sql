-- Sagas that wait are looked for twice a second. Those that do not wait have no time here: their entries lie side by
-- side in the order of their ids, so that writing them costs next to nothing.
ALTER TABLE saga_states ADD KEY saga_states_due (look_at);
