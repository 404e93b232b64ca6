-- One release or rollback at a time for a model in an environment. Rows stay, so that fencing numbers only rise.
CREATE TABLE slipway_locks (
    organisation text,
    model_name text NOT NULL,
    environment text NOT NULL,
    holder text,
    fence bigint NOT NULL,
    acquired_at timestamptz NOT NULL,
    heartbeat_at timestamptz NOT NULL,
    CONSTRAINT slipway_locks_once UNIQUE NULLS NOT DISTINCT (organisation, model_name, environment)
);

COMMENT ON TABLE slipway_locks IS 'Which run may change a model in an environment.';
COMMENT ON COLUMN slipway_locks.holder IS 'The flow run that holds it; null if none does.';
COMMENT ON COLUMN slipway_locks.fence IS 'Rises each time it is taken; a write with an older number is refused.';
COMMENT ON COLUMN slipway_locks.heartbeat_at IS 'The last sign of life of its holder; without one for a minute, another run may take it over.';

GRANT SELECT ON slipway_locks TO slipway_operator, slipway_admin;
GRANT INSERT, UPDATE ON slipway_locks TO slipway_admin;
