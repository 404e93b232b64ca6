-- What may only grow: candidates, evidence and events.

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
    CONSTRAINT slipway_events_pkey PRIMARY KEY (id),
    CONSTRAINT slipway_events_once UNIQUE (event_key),
    CONSTRAINT slipway_events_kind_word CHECK (kind ~ '^[a-z][a-z0-9_]*$'),
    CONSTRAINT slipway_events_detail_object CHECK (jsonb_typeof(detail) = 'object')
);

CREATE INDEX slipway_events_of_model ON slipway_events (model_name, environment, id);
CREATE INDEX slipway_events_of_candidate ON slipway_events (candidate_fingerprint, model_name, environment, id);
CREATE INDEX slipway_events_of_run ON slipway_events (run_id, id);

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

COMMENT ON TABLE slipway_candidates IS 'Every candidate that was ever released, by fingerprint. Append-only.';
COMMENT ON TABLE slipway_evidence IS 'Verdict documents by the SHA-256 of their canonical JSON. Append-only.';
COMMENT ON TABLE slipway_events IS 'What happened, in order of id. Append-only.';
COMMENT ON COLUMN slipway_events.event_key IS 'Makes a repeated write harmless: the same key is recorded once.';
