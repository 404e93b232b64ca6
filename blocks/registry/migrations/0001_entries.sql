-- The routing table: made where there is none, extended where an organisation already has one.
-- Nothing that is there is dropped or rewritten, except CHECK constraints on deployment_status alone, which ours replaces.

CREATE TABLE IF NOT EXISTS model_registry_entries (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    model_name text NOT NULL,
    CONSTRAINT model_registry_entries_pkey PRIMARY KEY (id)
);

ALTER TABLE model_registry_entries
    ADD COLUMN IF NOT EXISTS model_name text,
    ADD COLUMN IF NOT EXISTS hub_revision text,
    ADD COLUMN IF NOT EXISTS organisation text,
    ADD COLUMN IF NOT EXISTS deployment_environment text,
    ADD COLUMN IF NOT EXISTS deployment_namespace text,
    ADD COLUMN IF NOT EXISTS deployment_endpoint text,
    ADD COLUMN IF NOT EXISTS deployment_status text,
    ADD COLUMN IF NOT EXISTS deployment_status_reason text,
    ADD COLUMN IF NOT EXISTS candidate_fingerprint text,
    ADD COLUMN IF NOT EXISTS helm_revision integer,
    ADD COLUMN IF NOT EXISTS verified_at timestamptz,
    ADD COLUMN IF NOT EXISTS last_health_check_at timestamptz,
    ADD COLUMN IF NOT EXISTS created_at timestamptz DEFAULT now(),
    ADD COLUMN IF NOT EXISTS updated_at timestamptz DEFAULT now();

-- An existing table is looked over first, so that what cannot work is said here and not in the middle of a release.
DO $$
DECLARE
    found record;
BEGIN
    -- A column of one of our names must hold what we write into it.
    FOR found IN
        SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS actual, wanted.family
        FROM (VALUES
            ('model_name', 'text'), ('hub_revision', 'text'), ('organisation', 'text'), ('deployment_environment', 'text'),
            ('deployment_namespace', 'text'), ('deployment_endpoint', 'text'), ('deployment_status', 'text'),
            ('deployment_status_reason', 'text'), ('candidate_fingerprint', 'text'), ('helm_revision', 'integer'),
            ('verified_at', 'timestamp'), ('last_health_check_at', 'timestamp'), ('created_at', 'timestamp'), ('updated_at', 'timestamp')
        ) AS wanted (column_name, family)
        JOIN pg_attribute AS a ON a.attrelid = 'model_registry_entries'::regclass AND a.attname = wanted.column_name AND NOT a.attisdropped
        WHERE NOT (a.atttypid = ANY (CASE wanted.family
            WHEN 'text' THEN ARRAY['text'::regtype, 'varchar'::regtype]
            WHEN 'integer' THEN ARRAY['integer'::regtype, 'bigint'::regtype]
            ELSE ARRAY['timestamptz'::regtype, 'timestamp'::regtype]
        END::oid[]))
    LOOP
        RAISE EXCEPTION 'column % of model_registry_entries has the type %, but Slipway needs a % there', found.attname, found.actual, found.family
            USING ERRCODE = 'datatype_mismatch', HINT = 'Rename that column or change its type, then run slipway migrate again.';
    END LOOP;

    -- One row for each model cannot hold three environments.
    FOR found IN
        SELECT c.relname
        FROM pg_index AS i
        JOIN pg_class AS c ON c.oid = i.indexrelid
        WHERE i.indrelid = 'model_registry_entries'::regclass AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
            AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) AND a.attname = 'model_name')
            AND NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) AND a.attname = 'deployment_environment')
    LOOP
        RAISE EXCEPTION 'model_registry_entries allows one row for a model only (unique %), but a model has one for each environment', found.relname
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Drop that constraint or add deployment_environment to it, then run slipway migrate again.';
    END LOOP;

    FOR found IN
        SELECT string_agg(DISTINCT deployment_status, ', ') AS statuses
        FROM model_registry_entries
        WHERE deployment_status NOT IN ('pending', 'deploying', 'ready', 'degraded', 'failed', 'disabled')
        HAVING count(*) > 0
    LOOP
        RAISE EXCEPTION 'model_registry_entries has rows with a deployment_status that Slipway does not know: %', found.statuses
            USING ERRCODE = 'check_violation', HINT = 'Set them to pending, deploying, ready, degraded, failed or disabled, then run slipway migrate again.';
    END LOOP;

    -- Applications often make their uuid keys themselves; our rows need the database to do it.
    FOR found IN
        SELECT a.attname
        FROM pg_constraint AS c
        JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        WHERE c.conrelid = 'model_registry_entries'::regclass AND c.contype = 'p' AND cardinality(c.conkey) = 1
            AND a.atttypid = 'uuid'::regtype AND NOT a.atthasdef
    LOOP
        EXECUTE format('ALTER TABLE model_registry_entries ALTER COLUMN %I SET DEFAULT gen_random_uuid()', found.attname);
    END LOOP;

    -- The list of an older CHECK may lack statuses that we set.
    FOR found IN
        SELECT c.conname
        FROM pg_constraint AS c
        JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attname = 'deployment_status'
        WHERE c.conrelid = 'model_registry_entries'::regclass AND c.contype = 'c' AND c.conkey = ARRAY[a.attnum]
    LOOP
        EXECUTE format('ALTER TABLE model_registry_entries DROP CONSTRAINT %I', found.conname);
    END LOOP;
END
$$;

ALTER TABLE model_registry_entries
    ADD CONSTRAINT slipway_entry_status_known CHECK (deployment_status IN ('pending', 'deploying', 'ready', 'degraded', 'failed', 'disabled'));

CREATE UNIQUE INDEX slipway_entry_once
    ON model_registry_entries (organisation, model_name, hub_revision, deployment_environment) NULLS NOT DISTINCT
    WHERE deployment_environment IS NOT NULL AND hub_revision IS NOT NULL;

CREATE INDEX slipway_entry_routes
    ON model_registry_entries (model_name, deployment_environment)
    WHERE deployment_status = 'ready';

CREATE FUNCTION slipway_check_status_move() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF (OLD.deployment_status, NEW.deployment_status) NOT IN (
        ('pending', 'deploying'),
        ('deploying', 'ready'),
        ('deploying', 'failed'),
        ('ready', 'degraded'),
        ('ready', 'failed'),
        ('ready', 'disabled'),
        ('degraded', 'ready'),
        ('degraded', 'failed'),
        ('degraded', 'disabled'),
        ('failed', 'deploying'),
        ('disabled', 'deploying')
    ) THEN
        RAISE EXCEPTION 'an entry cannot go from % to % (model %, environment %)',
            OLD.deployment_status, NEW.deployment_status, NEW.model_name, NEW.deployment_environment
            USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_status_moves', TABLE = 'model_registry_entries';
    END IF;
    RETURN NEW;
END
$$;

-- Inserting is no move: a dump must load in any order. Rows without a status are not Slipway's.
CREATE TRIGGER slipway_status_moves
    BEFORE UPDATE ON model_registry_entries
    FOR EACH ROW
    WHEN (OLD.deployment_status IS NOT NULL AND OLD.deployment_status IS DISTINCT FROM NEW.deployment_status AND NEW.deployment_status IS NOT NULL)
    EXECUTE FUNCTION slipway_check_status_move();

COMMENT ON TABLE model_registry_entries IS 'Where each model is served. Rows with a deployment_environment and a hub_revision are kept by Slipway.';
COMMENT ON COLUMN model_registry_entries.hub_revision IS 'Commit SHA on the hub.';
COMMENT ON COLUMN model_registry_entries.deployment_endpoint IS 'Host and port that a router sends requests to.';
COMMENT ON COLUMN model_registry_entries.deployment_status IS 'pending, deploying, ready, degraded, failed or disabled; only ready is routed.';
COMMENT ON COLUMN model_registry_entries.candidate_fingerprint IS 'What serves here, or is being deployed: slipway_candidates.fingerprint.';
COMMENT ON COLUMN model_registry_entries.helm_revision IS 'Number in helm history of the verified release.';
COMMENT ON COLUMN model_registry_entries.verified_at IS 'When this candidate last passed verification here.';
COMMENT ON CONSTRAINT slipway_entry_status_known ON model_registry_entries IS 'The statuses that Slipway knows.';
COMMENT ON INDEX slipway_entry_once IS 'One entry for each organisation, model, hub revision and environment.';
COMMENT ON TRIGGER slipway_status_moves ON model_registry_entries IS 'Refuses status changes that the release process does not have.';
