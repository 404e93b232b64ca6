-- The record of applied migrations; the only table that no migration makes.
DO $$
BEGIN
    CREATE TABLE IF NOT EXISTS slipway_migrations (
        name text NOT NULL,
        sha256 text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT slipway_migrations_pkey PRIMARY KEY (name)
    );
EXCEPTION
    -- Another migrator made it in the meantime.
    WHEN unique_violation OR duplicate_table THEN NULL;
END
$$;
