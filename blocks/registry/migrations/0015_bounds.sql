-- What one writer could put down that no reader, and no recomputation of the record, could read afterwards; and two ways round a rule.

-- Python's times end with the year 9999, infinity is none, and the text that is hashed has four digits for the year. Rows that are there
-- are left alone.
ALTER TABLE slipway_events
    ADD CONSTRAINT slipway_events_time CHECK (occurred_at BETWEEN '1000-01-02' AND '9999-12-30') NOT VALID,
    -- Python's reader of JSON ends with a thousand; the program writes a hundred.
    ADD CONSTRAINT slipway_events_depth CHECK (NOT detail @? 'strict $.**{200}') NOT VALID;
ALTER TABLE slipway_candidates ADD CONSTRAINT slipway_candidates_depth CHECK (NOT document @? 'strict $.**{200}') NOT VALID;
ALTER TABLE slipway_evidence ADD CONSTRAINT slipway_evidence_depth CHECK (NOT document @? 'strict $.**{200}') NOT VALID;
ALTER TABLE slipway_locks
    ADD CONSTRAINT slipway_locks_times
        CHECK (acquired_at BETWEEN '1000-01-02' AND '9999-12-30' AND heartbeat_at BETWEEN '1000-01-02' AND '9999-12-30') NOT VALID;
ALTER TABLE slipway_authenticators
    ADD CONSTRAINT slipway_authenticators_time CHECK (locked_until BETWEEN '1000-01-02' AND '9999-12-30') NOT VALID;
ALTER TABLE model_registry_entries
    ADD CONSTRAINT slipway_entry_times CHECK (
        verified_at BETWEEN '1000-01-02' AND '9999-12-30'
        AND last_health_check_at BETWEEN '1000-01-02' AND '9999-12-30'
        AND created_at BETWEEN '1000-01-02' AND '9999-12-30'
        AND updated_at BETWEEN '1000-01-02' AND '9999-12-30'
    ) NOT VALID;

COMMENT ON CONSTRAINT slipway_events_time ON slipway_events IS 'A time that every reader can read.';
COMMENT ON CONSTRAINT slipway_events_depth ON slipway_events IS 'As deep as every reader can read.';
COMMENT ON CONSTRAINT slipway_entry_times ON model_registry_entries IS 'Times that every reader can read.';

-- Who computes a hash has no say in how a number is written.
ALTER FUNCTION slipway_canonical SET extra_float_digits = 1;

-- A superseded row that is said to have been taken out would come back without a release.
CREATE FUNCTION slipway_refuse_taken_out() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION 'an entry that is % was not taken out while it was % (model %, environment %)',
        coalesce(OLD.deployment_status, 'without a status'), NEW.disabled_from, NEW.model_name, NEW.deployment_environment
        USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_taken_out', TABLE = 'model_registry_entries';
END
$$;

CREATE TRIGGER slipway_taken_out
    BEFORE UPDATE ON model_registry_entries
    FOR EACH ROW
    WHEN (
        NEW.disabled_from IS NOT NULL
        AND NEW.disabled_from IS DISTINCT FROM OLD.disabled_from
        AND NEW.disabled_from IS DISTINCT FROM OLD.deployment_status
        -- What is out may lose its endpoint meanwhile.
        AND (OLD.disabled_from, NEW.disabled_from) IS DISTINCT FROM ('ready', 'degraded')
    )
    EXECUTE FUNCTION slipway_refuse_taken_out();
COMMENT ON TRIGGER slipway_taken_out ON model_registry_entries IS 'Refuses to say of what was superseded that a person took it out.';

REVOKE ALL ON FUNCTION slipway_refuse_taken_out FROM PUBLIC;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION slipway_refuse_taken_out SET search_path = pg_catalog, %I, pg_temp', current_schema());
END
$$;
