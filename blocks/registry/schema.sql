-- The present schema, to be read. Databases get it through the migrations beside this file; a test proves that both are the same.

CREATE TABLE slipway_migrations (
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT slipway_migrations_pkey PRIMARY KEY (name)
);

CREATE TABLE model_registry_entries (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    model_name text NOT NULL,
    hub_revision text,
    organisation text,
    deployment_environment text,
    deployment_namespace text,
    deployment_endpoint text,
    deployment_status text,
    deployment_status_reason text,
    candidate_fingerprint text,
    helm_revision integer,
    verified_at timestamptz,
    last_health_check_at timestamptz,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    CONSTRAINT model_registry_entries_pkey PRIMARY KEY (id),
    CONSTRAINT slipway_entry_status_known CHECK (deployment_status IN ('pending', 'deploying', 'ready', 'degraded', 'failed', 'disabled'))
);

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

CREATE TABLE slipway_candidates (
    fingerprint text NOT NULL,
    document jsonb NOT NULL,
    model_name text NOT NULL,
    hub_revision text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT slipway_candidates_pkey PRIMARY KEY (fingerprint)
);

CREATE TABLE slipway_evidence (
    sha256 text NOT NULL,
    kind text NOT NULL,
    document jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT slipway_evidence_pkey PRIMARY KEY (sha256),
    CONSTRAINT slipway_evidence_sha256_hex CHECK (sha256 ~ '^[0-9a-f]{64}$')
);

CREATE TABLE slipway_events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    event_key text NOT NULL DEFAULT gen_random_uuid()::text,
    occurred_at timestamptz NOT NULL,
    kind text NOT NULL,
    organisation text,
    model_name text,
    environment text,
    candidate_fingerprint text,
    run_id text,
    actor text,
    detail jsonb NOT NULL DEFAULT '{}',
    chain_position bigint NOT NULL,
    previous_hash text NOT NULL,
    hash text NOT NULL,
    CONSTRAINT slipway_events_pkey PRIMARY KEY (id),
    CONSTRAINT slipway_events_chain UNIQUE (chain_position),
    CONSTRAINT slipway_events_once UNIQUE (event_key),
    CONSTRAINT slipway_events_kind_word CHECK (kind ~ '^[a-z][a-z0-9_]*$'),
    CONSTRAINT slipway_events_detail_object CHECK (jsonb_typeof(detail) = 'object')
);

CREATE INDEX slipway_events_of_model ON slipway_events (model_name, environment, id);
CREATE INDEX slipway_events_of_candidate ON slipway_events (candidate_fingerprint, model_name, environment, id);
CREATE INDEX slipway_events_of_run ON slipway_events (run_id, id);
CREATE INDEX slipway_events_requests ON slipway_events (id) WHERE kind = 'approval_requested';

-- A value with its length in bytes before it, so that no two rows of values make one text.
CREATE FUNCTION slipway_chained(value text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN value IS NULL THEN '-,' ELSE octet_length(convert_to(value, 'UTF8'))::text || ':' || value || ',' END;

CREATE FUNCTION slipway_event_hash(event slipway_events) RETURNS text
LANGUAGE sql STABLE
RETURN encode(
    sha256(
        convert_to(
            slipway_chained(event.previous_hash)
            || slipway_chained(event.chain_position::text)
            || slipway_chained(event.id::text)
            || slipway_chained(event.event_key)
            || slipway_chained(to_char(event.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'))
            || slipway_chained(event.kind)
            || slipway_chained(event.organisation)
            || slipway_chained(event.model_name)
            || slipway_chained(event.environment)
            || slipway_chained(event.candidate_fingerprint)
            || slipway_chained(event.run_id)
            || slipway_chained(event.actor)
            || slipway_chained(event.detail::text),
            'UTF8'
        )
    ),
    'hex'
);

CREATE FUNCTION slipway_chain_event() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    last record;
BEGIN
    -- One writer at a time, until its transaction ends: who is next must see the row that it follows.
    PERFORM pg_advisory_xact_lock(hashtextextended('slipway_events', 0));
    SELECT chain_position, hash INTO last FROM slipway_events ORDER BY chain_position DESC LIMIT 1;
    NEW.chain_position := coalesce(last.chain_position, 0) + 1;
    NEW.previous_hash := coalesce(last.hash, repeat('0', 64));
    NEW.hash := slipway_event_hash(NEW);
    RETURN NEW;
END
$$;

CREATE FUNCTION slipway_refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or removed (%)', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', TABLE = TG_TABLE_NAME;
END
$$;

CREATE TRIGGER slipway_candidates_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON slipway_candidates
    FOR EACH STATEMENT EXECUTE FUNCTION slipway_refuse_change();

CREATE TRIGGER slipway_evidence_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON slipway_evidence
    FOR EACH STATEMENT EXECUTE FUNCTION slipway_refuse_change();

CREATE TRIGGER slipway_events_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON slipway_events
    FOR EACH STATEMENT EXECUTE FUNCTION slipway_refuse_change();

CREATE TRIGGER slipway_events_chained
    BEFORE INSERT ON slipway_events
    FOR EACH ROW EXECUTE FUNCTION slipway_chain_event();

-- What an approver's authenticator was last used for, and how often it was used wrongly.
CREATE TABLE slipway_authenticators (
    approver text NOT NULL,
    last_step bigint NOT NULL DEFAULT 0,
    wrong_codes integer NOT NULL DEFAULT 0,
    locked_until timestamptz,
    CONSTRAINT slipway_authenticators_pkey PRIMARY KEY (approver)
);

COMMENT ON TABLE slipway_candidates IS 'Every candidate that was ever released, by fingerprint. Append-only.';
COMMENT ON TABLE slipway_evidence IS 'Verdict documents by the SHA-256 of their canonical JSON. Append-only.';
COMMENT ON TABLE slipway_events IS 'What happened, in order of id. Append-only.';
COMMENT ON COLUMN slipway_events.event_key IS 'Makes a repeated write harmless: the same key is recorded once.';
COMMENT ON COLUMN slipway_events.chain_position IS 'Place in the chain, without gaps.';
COMMENT ON COLUMN slipway_events.previous_hash IS 'Hash of the event before; zeros for the first.';
COMMENT ON COLUMN slipway_events.hash IS 'SHA-256 (hex) of all other columns; slipway audit verify computes it again.';
COMMENT ON TRIGGER slipway_events_chained ON slipway_events IS 'Sets place and hash, whatever the writer says.';
COMMENT ON TABLE slipway_authenticators IS 'Which one-time codes are used up, and who is locked out. Holds no secret.';
COMMENT ON COLUMN slipway_authenticators.last_step IS 'Time step (30 s since 1970) of the last code that was accepted; older ones never are.';
