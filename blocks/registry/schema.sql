-- The present schema, to be read. Databases get it through the migrations beside this file; a test proves that both are the same.
-- The roles slipway_router, slipway_operator and slipway_admin (NOLOGIN) belong to the server; the migrations make them if they are missing.

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
    disabled_from text,
    health_window text,
    deployment_git_commit text,
    CONSTRAINT model_registry_entries_pkey PRIMARY KEY (id),
    CONSTRAINT slipway_entry_status_known CHECK (deployment_status IN ('pending', 'deploying', 'ready', 'degraded', 'failed', 'disabled')),
    CONSTRAINT slipway_entry_disabled_from
        CHECK (disabled_from IS NULL OR (disabled_from IN ('ready', 'degraded') AND deployment_status = 'disabled')),
    CONSTRAINT slipway_entry_health_window CHECK (health_window ~ '^[+-]{0,5}$'),
    CONSTRAINT slipway_entry_git_commit CHECK (deployment_git_commit ~ '^[0-9a-f]{40}([0-9a-f]{24})?$')
);

CREATE UNIQUE INDEX slipway_entry_once
    ON model_registry_entries (organisation, model_name, hub_revision, deployment_environment) NULLS NOT DISTINCT
    WHERE deployment_environment IS NOT NULL AND hub_revision IS NOT NULL;

CREATE INDEX slipway_entry_routes
    ON model_registry_entries (model_name, deployment_environment)
    WHERE deployment_status = 'ready';

CREATE INDEX slipway_entry_places ON model_registry_entries (
    model_name,
    deployment_environment,
    coalesce(organisation, ''),
    (CASE WHEN deployment_status = 'ready' THEN 0 WHEN disabled_from IS NOT NULL THEN 1 ELSE 2 END),
    verified_at DESC NULLS LAST,
    updated_at DESC NULLS LAST
);

CREATE FUNCTION slipway_check_status_move() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    -- What a person took out comes back as it was, or by a fresh verification. What was superseded comes back by a release only.
    IF OLD.deployment_status = 'disabled' AND (
        NEW.deployment_status = OLD.disabled_from
        OR (NEW.deployment_status = 'ready' AND OLD.disabled_from IS NOT NULL AND NEW.verified_at IS DISTINCT FROM OLD.verified_at)
    ) THEN
        RETURN NEW;
    END IF;
    IF OLD.deployment_status IS NULL AND (NEW.deployment_environment IS NULL OR NEW.hub_revision IS NULL) THEN
        RETURN NEW;  -- not Slipway's
    END IF;
    IF (coalesce(OLD.deployment_status, 'no status'), coalesce(NEW.deployment_status, 'no status')) NOT IN (
        ('no status', 'pending'),
        ('no status', 'deploying'),
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
            coalesce(OLD.deployment_status, 'no status'), coalesce(NEW.deployment_status, 'no status'),
            NEW.model_name, NEW.deployment_environment
            USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_status_moves', TABLE = 'model_registry_entries';
    END IF;
    RETURN NEW;
END
$$;

-- Inserting is no move: a dump must load in any order.
CREATE TRIGGER slipway_status_moves
    BEFORE UPDATE ON model_registry_entries
    FOR EACH ROW
    WHEN (OLD.deployment_status IS DISTINCT FROM NEW.deployment_status)
    EXECUTE FUNCTION slipway_check_status_move();

COMMENT ON TABLE model_registry_entries IS 'Where each model is served. Rows with a deployment_environment and a hub_revision are kept by Slipway.';
COMMENT ON COLUMN model_registry_entries.hub_revision IS 'Commit SHA on the hub.';
COMMENT ON COLUMN model_registry_entries.deployment_endpoint IS 'Host and port that a router sends requests to.';
COMMENT ON COLUMN model_registry_entries.deployment_status IS 'pending, deploying, ready, degraded, failed or disabled; only ready is routed.';
COMMENT ON COLUMN model_registry_entries.candidate_fingerprint IS 'What serves here, or is being deployed: slipway_candidates.fingerprint.';
COMMENT ON COLUMN model_registry_entries.helm_revision IS 'Number in helm history of the verified release; null where Argo CD delivers.';
COMMENT ON COLUMN model_registry_entries.verified_at IS 'When this candidate last passed verification here.';
COMMENT ON CONSTRAINT slipway_entry_status_known ON model_registry_entries IS 'The statuses that Slipway knows.';
COMMENT ON COLUMN model_registry_entries.disabled_from IS 'The status that it had when a person took it out; null where it was superseded.';
COMMENT ON CONSTRAINT slipway_entry_disabled_from ON model_registry_entries IS 'Only what is disabled was taken out.';
COMMENT ON COLUMN model_registry_entries.health_window IS 'The last five health checks of what serves, the latest at the end: + good, - bad.';
COMMENT ON CONSTRAINT slipway_entry_health_window ON model_registry_entries IS 'Five checks are remembered.';
COMMENT ON COLUMN model_registry_entries.deployment_git_commit IS 'Commit that Argo CD went to for the verified release; null where Helm delivers.';
COMMENT ON CONSTRAINT slipway_entry_git_commit ON model_registry_entries IS 'A commit is named in full.';
COMMENT ON INDEX slipway_entry_places IS 'The entries of a model in an environment, in the order in which they count.';
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
    chain bigint NOT NULL DEFAULT 0,
    CONSTRAINT slipway_events_pkey PRIMARY KEY (id),
    CONSTRAINT slipway_events_chain UNIQUE (chain, chain_position),
    CONSTRAINT slipway_events_once UNIQUE (event_key),
    CONSTRAINT slipway_events_kind_word CHECK (kind ~ '^[a-z][a-z0-9_]*$'),
    CONSTRAINT slipway_events_detail_object CHECK (jsonb_typeof(detail) = 'object')
);

CREATE INDEX slipway_events_of_model ON slipway_events (model_name, environment, id);
CREATE INDEX slipway_events_of_candidate ON slipway_events (candidate_fingerprint, model_name, environment, id);
CREATE INDEX slipway_events_of_run ON slipway_events (run_id, id);
CREATE INDEX slipway_events_requests ON slipway_events (id) WHERE kind = 'approval_requested';
CREATE INDEX slipway_events_begun ON slipway_events (id) WHERE kind = 'deploying';

-- A value with its length in bytes before it, so that no two rows of values make one text.
CREATE FUNCTION slipway_chained(value text) RETURNS text
LANGUAGE sql STABLE
RETURN CASE WHEN value IS NULL THEN '-,' ELSE octet_length(convert_to(value, 'UTF8'))::text || ':' || value || ',' END;

CREATE FUNCTION slipway_place(organisation text, model text, environment text) RETURNS text
LANGUAGE sql STABLE
RETURN jsonb_build_array(organisation, model, environment)::text;

-- Chain 0 is hashed without its number, as before there were others.
CREATE FUNCTION slipway_event_hash(event slipway_events) RETURNS text
LANGUAGE sql STABLE
RETURN encode(
    sha256(
        convert_to(
            CASE event.chain WHEN 0 THEN '' ELSE slipway_chained(event.chain::text) END
            || slipway_chained(event.previous_hash)
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

-- Where each chain ends. Chain 0 holds the seals, and what is older than the other chains.
CREATE TABLE slipway_chains (
    chain bigint GENERATED ALWAYS AS IDENTITY,
    place text NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    hash text NOT NULL DEFAULT repeat('0', 64),
    CONSTRAINT slipway_chains_pkey PRIMARY KEY (chain),
    CONSTRAINT slipway_chains_place UNIQUE (place)
)
-- Room beside each row for the next one of it: then no index is written when a chain goes on.
WITH (fillfactor = 50);

CREATE TABLE slipway_sealed (
    chain bigint NOT NULL,
    position bigint NOT NULL,
    CONSTRAINT slipway_sealed_pkey PRIMARY KEY (chain)
)
WITH (fillfactor = 50);

INSERT INTO slipway_chains (chain, place) OVERRIDING SYSTEM VALUE VALUES (0, '*');

-- The end of a place's chain, which nobody else moves before the end of the transaction.
CREATE FUNCTION slipway_lock_chain(wanted text) RETURNS slipway_chains
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    found_chain slipway_chains;
BEGIN
    LOOP
        SELECT * INTO found_chain FROM slipway_chains WHERE place = wanted FOR UPDATE;
        IF FOUND THEN
            RETURN found_chain;
        END IF;
        -- Somebody else who makes it at the same time is waited for, and it is found then.
        INSERT INTO slipway_chains (place) VALUES (wanted) ON CONFLICT (place) DO NOTHING;
    END LOOP;
END
$$;

CREATE FUNCTION slipway_turn(organisation text, model text, environment text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    wanted text := jsonb_build_array(nullif(organisation, ''), model, environment)::text;
BEGIN
    PERFORM FROM slipway_chains WHERE place = wanted FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM slipway_lock_chain(wanted);
    END IF;
END
$$;

-- With its owner's rights: writers may neither read nor lock the ends of chains otherwise.
CREATE FUNCTION slipway_chain_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    head slipway_chains;
    last record;
    wanted text;
BEGIN
    IF NEW.kind = 'sealed' THEN
        -- What it says is not the writer's to choose: the ends of the chains that went on since the seal before, a thousand at the most.
        NEW.organisation := NULL;
        NEW.model_name := NULL;
        NEW.environment := NULL;
        NEW.candidate_fingerprint := NULL;
        head := slipway_lock_chain('*');
        SELECT jsonb_build_object('chains', jsonb_agg(jsonb_build_array(moved.chain, moved.position, moved.hash) ORDER BY moved.chain))
        INTO NEW.detail
        FROM (
            SELECT c.chain, c.position, c.hash
            FROM slipway_chains AS c
            LEFT JOIN slipway_sealed AS s ON s.chain = c.chain
            WHERE c.chain <> 0 AND c.position > coalesce(s.position, 0)
            ORDER BY c.chain
            LIMIT 1000
        ) AS moved;
        IF NEW.detail ->> 'chains' IS NULL THEN
            RETURN NULL;  -- all are sealed
        END IF;
    ELSE
        NEW.organisation := nullif(NEW.organisation, '');
        wanted := jsonb_build_array(NEW.organisation, NEW.model_name, NEW.environment)::text;
        SELECT * INTO head FROM slipway_chains WHERE place = wanted FOR UPDATE;
        IF NOT FOUND THEN
            head := slipway_lock_chain(wanted);
        END IF;
    END IF;
    -- Rows of this very statement are not in the chain's end yet.
    SELECT e.chain_position, e.hash INTO last
    FROM slipway_events AS e
    WHERE e.chain = head.chain AND e.chain_position > head.position
    ORDER BY e.chain_position DESC
    LIMIT 1;
    NEW.chain := head.chain;
    NEW.chain_position := coalesce(last.chain_position, head.position) + 1;
    NEW.previous_hash := coalesce(last.hash, head.hash);
    NEW.hash := slipway_event_hash(NEW);
    RETURN NEW;
END
$$;

-- After the insert: a row whose key was there already is none, and moves no chain. Of each row and not of a table of all rows, which is dearer
-- to make than one row is to write.
CREATE FUNCTION slipway_move_chains() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    UPDATE slipway_chains SET position = NEW.chain_position, hash = NEW.hash WHERE chain = NEW.chain;
    IF NEW.chain = 0 THEN
        INSERT INTO slipway_sealed (chain, position)
        SELECT (sealed.part ->> 0)::bigint, max((sealed.part ->> 1)::bigint)
        FROM jsonb_array_elements(NEW.detail -> 'chains') AS sealed (part)
        GROUP BY 1
        ON CONFLICT (chain) DO UPDATE SET position = excluded.position;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION slipway_refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
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

CREATE TRIGGER slipway_events_counted
    AFTER INSERT ON slipway_events
    FOR EACH ROW EXECUTE FUNCTION slipway_move_chains();

-- Canonical JSON as the program writes it: keys sorted by code point, no white space, no escapes that are not needed, numbers as the
-- shortest text that is the same double.
CREATE FUNCTION slipway_canonical(document jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, public, pg_temp
SET extra_float_digits = 1
AS $$
DECLARE
    number text;
BEGIN
    CASE jsonb_typeof(document)
        WHEN 'object' THEN
            RETURN (
                SELECT '{' || coalesce(string_agg(to_json(e.key)::text || ':' || slipway_canonical(e.value), ',' ORDER BY e.key COLLATE "C"), '') || '}'
                FROM jsonb_each(document) AS e
            );
        WHEN 'array' THEN
            RETURN (
                SELECT '[' || coalesce(string_agg(slipway_canonical(a.value), ',' ORDER BY a.place), '') || ']'
                FROM jsonb_array_elements(document) WITH ORDINALITY AS a (value, place)
            );
        WHEN 'number' THEN
            number := document::text;
            -- Without a point it is an integer, of any length. PostgreSQL writes a double with an exponent from 1e15 on, Python from 1e16.
            IF position('.' IN number) = 0 OR abs(number::numeric) >= 1e15 THEN
                RETURN number;
            END IF;
            number := number::double precision::text;
            RETURN CASE WHEN number ~ '[.e]' THEN number ELSE number || '.0' END;
        ELSE
            RETURN document::text;
    END CASE;
END
$$;

-- What a candidate's fingerprint is taken over (flows/spec/candidate.py): all of it but what was read of the model, and without what came
-- to candidates later where it says nothing.
CREATE FUNCTION slipway_fingerprint(document jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    identity jsonb := document - 'about';
    engine jsonb := document -> 'engine';
BEGIN
    IF identity -> 'remote_code' = 'false' THEN identity := identity - 'remote_code'; END IF;
    IF identity -> 'subfolder' = '""' THEN identity := identity - 'subfolder'; END IF;
    IF jsonb_typeof(engine) = 'object' THEN
        IF engine -> 'quantization' = '""' THEN engine := engine - 'quantization'; END IF;
        IF engine -> 'speculative' = 'null' THEN engine := engine - 'speculative'; END IF;
        IF engine -> 'load_format' = '"safetensors"' THEN engine := engine - 'load_format'; END IF;
        IF engine -> 'variables' = '{}' THEN engine := engine - 'variables'; END IF;
        identity := jsonb_set(identity, '{engine}', engine);
    END IF;
    RETURN encode(sha256(convert_to(slipway_canonical(identity), 'UTF8')), 'hex');
END
$$;

CREATE FUNCTION slipway_check_candidate() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NEW.fingerprint IS DISTINCT FROM slipway_fingerprint(NEW.document) THEN
        RAISE EXCEPTION 'the fingerprint % is not that of its document', left(NEW.fingerprint, 12)
            USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_candidates_checked', TABLE = TG_TABLE_NAME;
    END IF;
    IF (NEW.model_name, NEW.hub_revision) IS DISTINCT FROM (NEW.document ->> 'model', NEW.document ->> 'commit') THEN
        RAISE EXCEPTION 'candidate % is one of % at %, as its document says', left(NEW.fingerprint, 12),
            coalesce(NEW.document ->> 'model', 'no model'), coalesce(NEW.document ->> 'commit', 'no commit')
            USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_candidates_checked', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION slipway_check_evidence() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NEW.sha256 IS DISTINCT FROM encode(sha256(convert_to(slipway_canonical(NEW.document), 'UTF8')), 'hex') THEN
        RAISE EXCEPTION 'the SHA-256 % is not that of its document', left(NEW.sha256, 12)
            USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_evidence_checked', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER slipway_candidates_checked
    BEFORE INSERT ON slipway_candidates
    FOR EACH ROW EXECUTE FUNCTION slipway_check_candidate();

CREATE TRIGGER slipway_evidence_checked
    BEFORE INSERT ON slipway_evidence
    FOR EACH ROW EXECUTE FUNCTION slipway_check_evidence();

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
COMMENT ON COLUMN slipway_events.hash IS 'SHA-256 (hex) of all other columns; slipway audit verify computes it again.';
COMMENT ON TABLE slipway_chains IS 'Where the chain of events of each model in an environment ends. Chain 0 holds the seals, and what is older than the others.';
COMMENT ON COLUMN slipway_chains.place IS 'Organisation, model and environment as JSON; an asterisk for chain 0.';
COMMENT ON COLUMN slipway_chains.position IS 'Of the last event; 0 if there is none.';
COMMENT ON COLUMN slipway_chains.hash IS 'Of the last event; zeros if there is none.';
COMMENT ON TABLE slipway_sealed IS 'How far each chain is sealed: named by an event of the kind sealed.';
COMMENT ON COLUMN slipway_events.chain IS 'Which chain it is part of: slipway_chains.chain.';
COMMENT ON COLUMN slipway_events.chain_position IS 'Place in its chain, without gaps.';
COMMENT ON COLUMN slipway_events.previous_hash IS 'Hash of the event before in its chain; zeros for the first.';
COMMENT ON TRIGGER slipway_events_chained ON slipway_events IS 'Sets chain, place and hash, whatever the writer says.';
COMMENT ON TRIGGER slipway_events_counted ON slipway_events IS 'Notes where the chains end.';
COMMENT ON FUNCTION slipway_turn IS 'Waits until nobody else writes of the model in the environment, and keeps others waiting until the end of the transaction.';
COMMENT ON TRIGGER slipway_candidates_checked ON slipway_candidates IS 'Computes the fingerprint of the document, and refuses another one.';
COMMENT ON TRIGGER slipway_evidence_checked ON slipway_evidence IS 'Computes the hash of the document, and refuses another one.';
COMMENT ON TABLE slipway_authenticators IS 'Which one-time codes are used up, and who is locked out. Holds no secret.';
COMMENT ON COLUMN slipway_authenticators.last_step IS 'Time step (30 s since 1970) of the last code that was accepted; older ones never are.';

-- Narrower than a right to update the table: an operator may do these two things and no other.
-- Both wait for their turn as every step of a release does, and return how many entries they moved.
CREATE FUNCTION slipway_disable(model text, environment text, reason text, actor text, organisation text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    moved record;
    number integer := 0;
BEGIN
    IF coalesce(btrim(slipway_disable.reason), '') = '' OR coalesce(btrim(slipway_disable.actor), '') = '' THEN
        RAISE EXCEPTION 'taking a model out needs a reason and a name' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF length(slipway_disable.reason) > 4000 OR length(slipway_disable.actor) > 200 THEN
        RAISE EXCEPTION 'a reason has 4000 characters at the most, a name 200' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT EXISTS (
        SELECT FROM model_registry_entries
        WHERE model_name = slipway_disable.model
            AND deployment_environment = slipway_disable.environment
            AND coalesce(organisation, '') = coalesce(slipway_disable.organisation, '')
    ) THEN
        RETURN 0;
    END IF;
    slipway_disable.organisation := nullif(slipway_disable.organisation, '');
    PERFORM slipway_lock_chain(slipway_place(slipway_disable.organisation, slipway_disable.model, slipway_disable.environment));
    FOR moved IN
        UPDATE model_registry_entries
        SET deployment_status = 'disabled',
            disabled_from = deployment_status,
            deployment_status_reason = slipway_disable.reason,
            updated_at = clock_timestamp()
        WHERE model_name = slipway_disable.model
            AND deployment_environment = slipway_disable.environment
            AND coalesce(organisation, '') = coalesce(slipway_disable.organisation, '')
            AND hub_revision IS NOT NULL
            AND deployment_status IN ('ready', 'degraded')
        RETURNING candidate_fingerprint
    LOOP
        number := number + 1;
        INSERT INTO slipway_events (occurred_at, kind, organisation, model_name, environment, candidate_fingerprint, actor, detail)
        VALUES (
            clock_timestamp(), 'disabled', slipway_disable.organisation, slipway_disable.model, slipway_disable.environment,
            moved.candidate_fingerprint, slipway_disable.actor, jsonb_build_object('reason', slipway_disable.reason)
        );
    END LOOP;
    RETURN number;
END
$$;

CREATE FUNCTION slipway_enable(model text, environment text, reason text, actor text, organisation text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    moved record;
    number integer := 0;
BEGIN
    IF coalesce(btrim(slipway_enable.reason), '') = '' OR coalesce(btrim(slipway_enable.actor), '') = '' THEN
        RAISE EXCEPTION 'putting a model back needs a reason and a name' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF length(slipway_enable.reason) > 4000 OR length(slipway_enable.actor) > 200 THEN
        RAISE EXCEPTION 'a reason has 4000 characters at the most, a name 200' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT EXISTS (
        SELECT FROM model_registry_entries
        WHERE model_name = slipway_enable.model
            AND deployment_environment = slipway_enable.environment
            AND coalesce(organisation, '') = coalesce(slipway_enable.organisation, '')
    ) THEN
        RETURN 0;
    END IF;
    slipway_enable.organisation := nullif(slipway_enable.organisation, '');
    PERFORM slipway_lock_chain(slipway_place(slipway_enable.organisation, slipway_enable.model, slipway_enable.environment));
    FOR moved IN
        UPDATE model_registry_entries
        SET deployment_status = disabled_from,
            disabled_from = NULL,
            deployment_status_reason = CASE disabled_from WHEN 'degraded' THEN 'degraded already when it was taken out' END,
            updated_at = clock_timestamp()
        WHERE model_name = slipway_enable.model
            AND deployment_environment = slipway_enable.environment
            AND coalesce(organisation, '') = coalesce(slipway_enable.organisation, '')
            AND disabled_from IS NOT NULL
        RETURNING candidate_fingerprint
    LOOP
        number := number + 1;
        INSERT INTO slipway_events (occurred_at, kind, organisation, model_name, environment, candidate_fingerprint, actor, detail)
        VALUES (
            clock_timestamp(), 'enabled', slipway_enable.organisation, slipway_enable.model, slipway_enable.environment,
            moved.candidate_fingerprint, slipway_enable.actor, jsonb_build_object('reason', slipway_enable.reason)
        );
    END LOOP;
    RETURN number;
END
$$;

COMMENT ON FUNCTION slipway_disable IS 'Take a model out of an environment until slipway_enable; routers answer 503 with the reason.';
COMMENT ON FUNCTION slipway_enable IS 'Put back what slipway_disable took out.';

CREATE TABLE slipway_canaries (
    organisation text,
    model_name text NOT NULL,
    environment text NOT NULL,
    run_id text NOT NULL,
    stable_fingerprint text NOT NULL,
    canary_fingerprint text NOT NULL,
    canary_endpoint text NOT NULL,
    weight integer NOT NULL DEFAULT 0,
    shadow integer NOT NULL DEFAULT 0,
    phase text NOT NULL DEFAULT 'coming',
    step integer NOT NULL DEFAULT 0,
    steps jsonb NOT NULL DEFAULT '[]',
    began_at timestamptz NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz,
    judge jsonb NOT NULL DEFAULT '{}',
    judged_at timestamptz,
    wish text,
    wish_actor text,
    wish_reason text,
    wished_at timestamptz,
    outcome text,
    outcome_reason text,
    CONSTRAINT slipway_canaries_shares CHECK (weight BETWEEN 0 AND 100 AND shadow BETWEEN 0 AND 100),
    CONSTRAINT slipway_canaries_phase CHECK (phase IN ('coming', 'running', 'held', 'taking_over', 'warm', 'ended')),
    CONSTRAINT slipway_canaries_unrouted CHECK (weight + shadow = 0 OR phase IN ('running', 'held', 'taking_over')),
    CONSTRAINT slipway_canaries_two CHECK (
        stable_fingerprint ~ '^[0-9a-f]{64}$' AND canary_fingerprint ~ '^[0-9a-f]{64}$' AND stable_fingerprint <> canary_fingerprint
    ),
    CONSTRAINT slipway_canaries_outcome CHECK ((phase = 'ended') = (outcome IS NOT NULL) AND outcome ~ '^[a-z][a-z_]{0,39}$'),
    CONSTRAINT slipway_canaries_wish CHECK (
        (wish IS NULL AND wish_actor IS NULL AND wish_reason IS NULL AND wished_at IS NULL)
        OR (
            wish IN ('promote', 'abort', 'hold', 'resume')
            AND wish_actor IS NOT NULL AND wish_reason IS NOT NULL AND wished_at IS NOT NULL
        )
    ),
    CONSTRAINT slipway_canaries_texts CHECK (
        organisation <> ''
        AND length(run_id) BETWEEN 1 AND 200
        AND canary_endpoint ~ '^[!-~]+$' AND length(canary_endpoint) <= 300
        AND length(wish_actor) <= 200
        AND length(wish_reason) <= 4000
        AND length(outcome_reason) <= 4000
    ),
    CONSTRAINT slipway_canaries_steps
        CHECK (step BETWEEN 0 AND 100 AND jsonb_typeof(steps) = 'array' AND octet_length(steps::text) <= 16384),
    -- As deep as every reader can read, as of events.
    CONSTRAINT slipway_canaries_judge
        CHECK (jsonb_typeof(judge) = 'object' AND octet_length(judge::text) <= 1048576 AND NOT judge @? 'strict $.**{200}'),
    CONSTRAINT slipway_canaries_times CHECK (
        began_at BETWEEN '1000-01-02' AND '9999-12-30'
        AND since BETWEEN '1000-01-02' AND '9999-12-30'
        AND until BETWEEN '1000-01-02' AND '9999-12-30'
        AND judged_at BETWEEN '1000-01-02' AND '9999-12-30'
        AND wished_at BETWEEN '1000-01-02' AND '9999-12-30'
    )
)
-- The judge's state is written every few seconds: with room beside each row no index is.
WITH (fillfactor = 50);

CREATE UNIQUE INDEX slipway_canaries_once ON slipway_canaries (model_name, environment, (coalesce(organisation, '')));

CREATE FUNCTION slipway_check_canary() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF NEW.phase <> OLD.phase AND NEW.phase <> 'ended' AND (OLD.phase, NEW.phase) NOT IN (
        ('coming', 'running'),
        ('coming', 'held'),
        ('running', 'held'),
        ('held', 'running'),
        ('running', 'taking_over'),
        ('held', 'taking_over'),
        ('taking_over', 'warm'),
        ('ended', 'coming')
    ) THEN
        RAISE EXCEPTION 'a canary cannot go from % to % (model %, environment %)', OLD.phase, NEW.phase, NEW.model_name, NEW.environment
            USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_canaries_moves', TABLE = 'slipway_canaries';
    END IF;
    -- By a lower weight conversations would go back one by one; at 0 all of them do.
    IF NEW.weight < OLD.weight AND NEW.weight <> 0 THEN
        RAISE EXCEPTION 'the weight of a canary rises or falls to 0, and does not go from % to % (model %, environment %)',
            OLD.weight, NEW.weight, NEW.model_name, NEW.environment
            USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_canaries_rise', TABLE = 'slipway_canaries';
    END IF;
    IF OLD.phase <> 'ended' AND (NEW.stable_fingerprint, NEW.canary_fingerprint) <> (OLD.stable_fingerprint, OLD.canary_fingerprint) THEN
        RAISE EXCEPTION 'a canary keeps its candidates until it has ended (model %, environment %)', NEW.model_name, NEW.environment
            USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_canaries_kept', TABLE = 'slipway_canaries';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER slipway_canaries_moves
    BEFORE UPDATE ON slipway_canaries
    FOR EACH ROW EXECUTE FUNCTION slipway_check_canary();

-- Names the place and not the news, as slipway_announce_route does, on the same channel.
CREATE FUNCTION slipway_announce_canary() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    place text := json_build_object('model', NEW.model_name, 'environment', NEW.environment, 'organisation', NEW.organisation)::text;
BEGIN
    PERFORM pg_notify('slipway_routes', CASE WHEN octet_length(place) < 8000 THEN place ELSE '{}' END);
    RETURN NULL;
END
$$;

CREATE TRIGGER slipway_canaries_routed
    AFTER INSERT ON slipway_canaries
    FOR EACH ROW
    WHEN (NEW.weight + NEW.shadow > 0)
    EXECUTE FUNCTION slipway_announce_canary();

CREATE TRIGGER slipway_canaries_shifted
    AFTER UPDATE ON slipway_canaries
    FOR EACH ROW
    WHEN (
        (OLD.weight, OLD.shadow) <> (NEW.weight, NEW.shadow)
        OR (NEW.weight + NEW.shadow > 0 AND OLD.canary_endpoint <> NEW.canary_endpoint)
    )
    EXECUTE FUNCTION slipway_announce_canary();

-- Narrower than a right to update the table: an operator may wish, and the run that judges the canary does it.
CREATE FUNCTION slipway_wish(model text, environment text, wish text, reason text, actor text, organisation text DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    canary slipway_canaries;
    moment timestamptz;
BEGIN
    IF coalesce(slipway_wish.wish, '') NOT IN ('promote', 'abort', 'hold', 'resume') THEN
        RAISE EXCEPTION 'of a canary one may wish promote, abort, hold or resume, and not %', coalesce(left(slipway_wish.wish, 40), 'nothing')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF coalesce(btrim(slipway_wish.reason), '') = '' OR coalesce(btrim(slipway_wish.actor), '') = '' THEN
        RAISE EXCEPTION 'a wish for a canary needs a reason and a name' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF length(slipway_wish.reason) > 4000 OR length(slipway_wish.actor) > 200 THEN
        RAISE EXCEPTION 'a reason has 4000 characters at the most, a name 200' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    slipway_wish.organisation := nullif(slipway_wish.organisation, '');
    -- Looked for before the turn is waited for: that would leave a chain behind for any place that somebody makes up.
    PERFORM FROM slipway_canaries AS c
    WHERE c.model_name = slipway_wish.model AND c.environment = slipway_wish.environment
        AND coalesce(c.organisation, '') = coalesce(slipway_wish.organisation, '');
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM slipway_lock_chain(slipway_place(slipway_wish.organisation, slipway_wish.model, slipway_wish.environment));
    SELECT * INTO canary FROM slipway_canaries AS c
    WHERE c.model_name = slipway_wish.model AND c.environment = slipway_wish.environment
        AND coalesce(c.organisation, '') = coalesce(slipway_wish.organisation, '');
    IF canary.phase = 'ended' THEN
        RETURN false;
    END IF;
    IF canary.phase IN ('taking_over', 'warm') THEN
        RAISE EXCEPTION 'the canary of % in % takes over or has taken over already: go back by slipway rollback', canary.model_name, canary.environment
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF canary.wish = slipway_wish.wish AND canary.wish_actor = slipway_wish.actor AND canary.wish_reason = slipway_wish.reason THEN
        RETURN true;  -- said before, by this very call perhaps, whose answer was lost
    END IF;
    moment := clock_timestamp();
    UPDATE slipway_canaries AS c
    SET wish = slipway_wish.wish, wish_actor = slipway_wish.actor, wish_reason = slipway_wish.reason, wished_at = moment
    WHERE c.model_name = slipway_wish.model AND c.environment = slipway_wish.environment
        AND coalesce(c.organisation, '') = coalesce(slipway_wish.organisation, '');
    INSERT INTO slipway_events (occurred_at, kind, organisation, model_name, environment, candidate_fingerprint, run_id, actor, detail)
    VALUES (
        moment, 'canary_wished', slipway_wish.organisation, slipway_wish.model, slipway_wish.environment, canary.canary_fingerprint,
        canary.run_id, slipway_wish.actor, jsonb_build_object('wish', slipway_wish.wish, 'reason', slipway_wish.reason)
    );
    RETURN true;
END
$$;

COMMENT ON TABLE slipway_canaries IS 'A candidate beside the one that serves a model in an environment, and its share of the requests; the last one of each place.';
COMMENT ON COLUMN slipway_canaries.weight IS 'Percent of the requests that the canary answers.';
COMMENT ON COLUMN slipway_canaries.shadow IS 'Percent of the requests that it is sent too, without being the one that answers.';
COMMENT ON COLUMN slipway_canaries.canary_endpoint IS 'Host and port that a router sends the canary''s share to; it means this candidate for as long as the canary is open.';
COMMENT ON COLUMN slipway_canaries.phase IS 'coming, running, held, taking_over, warm (it took over, and the one before stays up), ended.';
COMMENT ON COLUMN slipway_canaries.since IS 'Since when it has this phase, step and weight.';
COMMENT ON COLUMN slipway_canaries.until IS 'When the step, or the time in which the one before stays up, ends; null if that is open.';
COMMENT ON COLUMN slipway_canaries.judge IS 'What the judge has seen, so that a run that is taken up again goes on with it.';
COMMENT ON COLUMN slipway_canaries.wish IS 'What an operator wants done: promote, abort, hold or resume; null once it is.';
COMMENT ON INDEX slipway_canaries_once IS 'One canary for each organisation, model and environment.';
COMMENT ON TRIGGER slipway_canaries_moves ON slipway_canaries IS 'Refuses phases that do not follow each other, and weights that fall.';
COMMENT ON TRIGGER slipway_canaries_routed ON slipway_canaries IS 'Announces changes of routes on the channel slipway_routes.';
COMMENT ON TRIGGER slipway_canaries_shifted ON slipway_canaries IS 'Announces changes of routes on the channel slipway_routes.';
COMMENT ON FUNCTION slipway_wish IS 'Ask the run of a canary to promote, abort, hold or resume it; false if there is none.';

CREATE VIEW slipway_routes AS
SELECT
    r.organisation,
    r.model_name AS model,
    r.hub_revision,
    r.deployment_environment AS environment,
    CASE r.deployment_status WHEN 'ready' THEN r.deployment_endpoint END AS endpoint,
    r.candidate_fingerprint AS candidate,
    r.deployment_status AS status,
    r.verified_at,
    r.last_health_check_at AS last_checked_at,
    CASE r.deployment_status WHEN 'ready' THEN 200 ELSE 503 END AS http_status,
    CASE
        WHEN r.deployment_status = 'ready' THEN NULL
        WHEN r.disabled_from IS NOT NULL THEN
            format('model %s is disabled in %s: %s', r.model_name, r.deployment_environment, r.deployment_status_reason)
        ELSE format('model %s is not ready in %s: it is %s', r.model_name, r.deployment_environment, r.deployment_status)
    END AS message,
    CASE WHEN r.deployment_status = 'ready' THEN 0 WHEN r.disabled_from IS NOT NULL THEN 1 ELSE 2 END AS preference,
    r.updated_at,
    100 - coalesce(c.weight, 0) AS weight,
    c.canary_endpoint,
    c.canary_fingerprint AS canary_candidate,
    coalesce(c.weight, 0) AS canary_weight,
    coalesce(c.shadow, 0) AS shadow
FROM model_registry_entries AS r
LEFT JOIN slipway_canaries AS c
    ON c.model_name = r.model_name
    AND c.environment = r.deployment_environment
    AND coalesce(c.organisation, '') = coalesce(r.organisation, '')
    -- Beside what it was begun beside, and only while that serves: what takes a model out takes its canary out.
    AND c.stable_fingerprint = r.candidate_fingerprint
    AND r.deployment_status = 'ready'
    AND c.weight + c.shadow > 0
WHERE r.deployment_environment IS NOT NULL AND r.hub_revision IS NOT NULL AND r.deployment_status IS NOT NULL
    AND (r.deployment_endpoint IS NOT NULL OR r.deployment_status <> 'ready');

COMMENT ON VIEW slipway_routes IS 'Where each entry is served, or why it is not. Of a model in an environment the lowest preference counts.';
COMMENT ON COLUMN slipway_routes.endpoint IS 'Host and port; null unless the entry is ready.';
COMMENT ON COLUMN slipway_routes.preference IS '0 ready, 1 taken out by a person, 2 not ready otherwise. Then the latest verified counts, then the latest changed.';
COMMENT ON COLUMN slipway_routes.weight IS 'Percent of the requests that go to the endpoint; 100 without a canary.';
COMMENT ON COLUMN slipway_routes.canary_endpoint IS 'Host and port of the candidate that gets the others, or copies; null without a canary.';
COMMENT ON COLUMN slipway_routes.canary_weight IS 'Percent of the requests that go to the canary.';
COMMENT ON COLUMN slipway_routes.shadow IS 'Percent of the requests to the endpoint that the canary is sent a copy of.';

-- Its body is bound to the view whatever the caller's search_path is, and small enough to become part of the caller's query.
CREATE FUNCTION route(model text, hub_revision text DEFAULT NULL, environment text DEFAULT 'production', organisation text DEFAULT NULL)
RETURNS TABLE (
    endpoint text, candidate text, status text, last_checked_at timestamptz, http_status integer, message text,
    weight integer, canary_endpoint text, canary_candidate text, canary_weight integer, shadow integer
)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT
        found.endpoint,
        found.candidate,
        found.status,
        found.last_checked_at,
        coalesce(found.http_status, 404),
        CASE
            WHEN found.http_status IS NOT NULL THEN found.message
            WHEN route.hub_revision IS NULL THEN format('model %s is unknown in %s', route.model, route.environment)
            ELSE format('model %s has no hub revision %s in %s', route.model, route.hub_revision, route.environment)
        END,
        -- Who asks for a hub revision gets that one alone.
        CASE WHEN route.hub_revision IS NULL THEN coalesce(found.weight, 100) ELSE 100 END,
        CASE WHEN route.hub_revision IS NULL THEN found.canary_endpoint END,
        CASE WHEN route.hub_revision IS NULL THEN found.canary_candidate END,
        CASE WHEN route.hub_revision IS NULL THEN coalesce(found.canary_weight, 0) ELSE 0 END,
        CASE WHEN route.hub_revision IS NULL THEN coalesce(found.shadow, 0) ELSE 0 END
    FROM (VALUES (1)) AS one (row)
    LEFT JOIN LATERAL (
        SELECT
            r.endpoint, r.candidate, r.status, r.last_checked_at, r.http_status, r.message,
            r.weight, r.canary_endpoint, r.canary_candidate, r.canary_weight, r.shadow
        FROM slipway_routes AS r
        WHERE r.model = route.model
            AND r.environment = route.environment
            AND coalesce(r.organisation, '') = coalesce(route.organisation, '')
            AND (route.hub_revision IS NULL OR r.hub_revision = route.hub_revision)
        ORDER BY r.preference, r.verified_at DESC NULLS LAST, r.updated_at DESC NULLS LAST
        LIMIT 1
    ) AS found ON true;
END;

COMMENT ON FUNCTION route IS 'Where a model is served: always one row, with an endpoint or with why there is none (http_status 404 or 503).';

-- Of route() and not inlined: its plan is kept by the session of the server. It brings its settings along: behind a pooler it is a
-- transaction by itself, in one round trip. A table from before Slipway may have times without a zone, which are read as UTC.
CREATE FUNCTION route_through_pooler(
    model text, hub_revision text DEFAULT NULL, environment text DEFAULT 'production', organisation text DEFAULT NULL
)
RETURNS TABLE (
    endpoint text, candidate text, status text, last_checked_at timestamptz, http_status integer, message text,
    weight integer, canary_endpoint text, canary_candidate text, canary_weight integer, shadow integer
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '15s'
AS $$
BEGIN
    RETURN QUERY SELECT found.* FROM public.route($1, $2, $3, $4) AS found;
END
$$;

COMMENT ON FUNCTION route_through_pooler IS 'The same as route, for connections without named statements, as behind a pooler.';

-- Names the place and not the news: whoever hears it reads the row, so that it does not matter in what order or how often it is heard.
CREATE FUNCTION slipway_announce_route() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    before text;
    here text;
    told text;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (
            OLD.deployment_status, OLD.deployment_status_reason, OLD.disabled_from, OLD.deployment_endpoint, OLD.candidate_fingerprint,
            OLD.verified_at, OLD.model_name, OLD.deployment_environment, OLD.organisation, OLD.hub_revision
        ) IS NOT DISTINCT FROM (
            NEW.deployment_status, NEW.deployment_status_reason, NEW.disabled_from, NEW.deployment_endpoint, NEW.candidate_fingerprint,
            NEW.verified_at, NEW.model_name, NEW.deployment_environment, NEW.organisation, NEW.hub_revision
        ) THEN
            RETURN NULL;
        END IF;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        before := json_build_object('model', OLD.model_name, 'environment', OLD.deployment_environment, 'organisation', OLD.organisation)::text;
        -- More than NOTIFY can carry: an empty object means "read everything again".
        told := pg_notify('slipway_routes', CASE WHEN octet_length(before) < 8000 THEN before ELSE '{}' END);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        here := json_build_object('model', NEW.model_name, 'environment', NEW.deployment_environment, 'organisation', NEW.organisation)::text;
        -- Of a row that moves to another place, both are news.
        IF here IS DISTINCT FROM before THEN
            told := pg_notify('slipway_routes', CASE WHEN octet_length(here) < 8000 THEN here ELSE '{}' END);
        END IF;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER slipway_routes_changed
    AFTER INSERT OR DELETE ON model_registry_entries
    FOR EACH ROW EXECUTE FUNCTION slipway_announce_route();

-- A health check sets none of these columns, and whether a value changed the function sees.
CREATE TRIGGER slipway_routes_moved
    AFTER UPDATE OF
        deployment_status, deployment_status_reason, disabled_from, deployment_endpoint, candidate_fingerprint, verified_at, model_name,
        deployment_environment, organisation, hub_revision
    ON model_registry_entries
    FOR EACH ROW EXECUTE FUNCTION slipway_announce_route();

COMMENT ON TRIGGER slipway_routes_changed ON model_registry_entries IS 'Announces changes of routes on the channel slipway_routes.';
COMMENT ON TRIGGER slipway_routes_moved ON model_registry_entries IS 'Announces changes of routes on the channel slipway_routes.';

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

-- Numbers that only ever rise: with a lower one a lost holder would write again, or a used code would be good again.
CREATE FUNCTION slipway_refuse_fall() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '% of % only ever rises', TG_ARGV[0], TG_TABLE_NAME USING ERRCODE = 'restrict_violation', TABLE = TG_TABLE_NAME;
END
$$;

CREATE TRIGGER slipway_locks_rise
    BEFORE UPDATE ON slipway_locks
    FOR EACH ROW
    WHEN (NEW.fence < OLD.fence)
    EXECUTE FUNCTION slipway_refuse_fall('fence');

CREATE TRIGGER slipway_authenticators_rise
    BEFORE UPDATE ON slipway_authenticators
    FOR EACH ROW
    WHEN (NEW.last_step < OLD.last_step)
    EXECUTE FUNCTION slipway_refuse_fall('last_step');

COMMENT ON TRIGGER slipway_locks_rise ON slipway_locks IS 'Refuses a lower fence.';
COMMENT ON TRIGGER slipway_authenticators_rise ON slipway_authenticators IS 'Refuses a lower last step.';

-- What serves is found bad, or good again: by the monitor, for many models at once. In one statement each, so that nobody waits for a
-- client's answers meanwhile.
CREATE FUNCTION slipway_judge(
    kind text, organisation text, model text, environment text, fingerprint text, reason text, degraded_by text, holding text[],
    run_id text, actor text, detail jsonb, at timestamptz
) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz;
BEGIN
    IF slipway_judge.kind IS NULL OR slipway_judge.kind NOT IN ('degraded', 'recovered') THEN
        RAISE EXCEPTION 'what serves is found degraded or recovered, and not %', coalesce(left(slipway_judge.kind, 40), 'nothing')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    slipway_judge.organisation := nullif(slipway_judge.organisation, '');
    PERFORM slipway_turn(slipway_judge.organisation, slipway_judge.model, slipway_judge.environment);
    moment := coalesce(slipway_judge.at, clock_timestamp());
    IF slipway_judge.kind = 'degraded' THEN
        UPDATE model_registry_entries AS r
        SET deployment_status = 'degraded', deployment_status_reason = slipway_judge.reason,
            last_health_check_at = moment, updated_at = moment
        WHERE r.model_name = slipway_judge.model
            AND r.deployment_environment = slipway_judge.environment
            AND coalesce(r.organisation, '') = coalesce(slipway_judge.organisation, '')
            -- What was found bad may not serve any longer: then no row is touched.
            AND r.candidate_fingerprint = slipway_judge.fingerprint
            AND r.deployment_status = 'ready';
    ELSE
        -- One that lost its endpoint (last event `displaced`) comes back by a release only: what answers there now is another.
        UPDATE model_registry_entries AS r
        SET deployment_status = 'ready', deployment_status_reason = NULL, last_health_check_at = moment, updated_at = moment
        WHERE r.model_name = slipway_judge.model
            AND r.deployment_environment = slipway_judge.environment
            AND coalesce(r.organisation, '') = coalesce(slipway_judge.organisation, '')
            AND r.candidate_fingerprint = slipway_judge.fingerprint
            AND r.deployment_status = 'degraded'
            AND coalesce((
                SELECT e.kind <> 'displaced'
                    AND (slipway_judge.degraded_by IS NULL OR (e.kind = 'degraded' AND e.actor = slipway_judge.degraded_by))
                FROM slipway_events AS e
                WHERE e.candidate_fingerprint = r.candidate_fingerprint
                    AND e.model_name = r.model_name
                    AND e.environment = r.deployment_environment
                    AND e.organisation IS NOT DISTINCT FROM slipway_judge.organisation
                    AND e.kind = ANY(slipway_judge.holding)
                ORDER BY e.id DESC
                LIMIT 1
            -- No event: a row that was there before Slipway. A verification may bring it back, a health check may not.
            ), slipway_judge.degraded_by IS NULL);
    END IF;
    IF NOT FOUND THEN
        -- Said before, by this very call perhaps, whose answer was lost.
        RETURN EXISTS (
            SELECT FROM model_registry_entries AS r
            WHERE r.model_name = slipway_judge.model
                AND r.deployment_environment = slipway_judge.environment
                AND coalesce(r.organisation, '') = coalesce(slipway_judge.organisation, '')
                AND r.candidate_fingerprint = slipway_judge.fingerprint
                AND r.deployment_status = CASE slipway_judge.kind WHEN 'recovered' THEN 'ready' ELSE slipway_judge.kind END
        );
    END IF;
    INSERT INTO slipway_events (occurred_at, kind, organisation, model_name, environment, candidate_fingerprint, run_id, actor, detail)
    VALUES (
        moment, slipway_judge.kind, slipway_judge.organisation, slipway_judge.model, slipway_judge.environment, slipway_judge.fingerprint,
        slipway_judge.run_id, slipway_judge.actor, slipway_judge.detail
    );
    RETURN true;
END
$$;

-- The same, so that many at once do not wait for the disk one after the other. PostgreSQL lets one transaction at a time end that announces
-- something (NOTIFY), for as long as its end takes to reach the disk. So the change ends without waiting for the disk, and then a second
-- transaction waits for it: what is there when it has ended was written before it. It returns when the change is as safe as any other.
CREATE PROCEDURE slipway_judge_together(
    kind text, organisation text, model text, environment text, fingerprint text, reason text, degraded_by text, holding text[],
    run_id text, actor text, detail jsonb, at timestamptz, INOUT holds boolean
)
LANGUAGE plpgsql
AS $$
DECLARE
    told text;
    written pg_catalog.pg_lsn;
BEGIN
    -- As of every transaction of the program (sql/settings.sql), where the session does not have it: this one begins and ends here.
    IF pg_catalog.current_setting('lock_timeout') OPERATOR(pg_catalog.<>) '15s'
        OR pg_catalog.current_setting('timezone') OPERATOR(pg_catalog.<>) 'UTC'
    THEN
        told := pg_catalog.set_config('lock_timeout', '15s', true);
        told := pg_catalog.set_config('timezone', 'UTC', true);
    END IF;
    IF pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.<>) 'off' THEN
        told := pg_catalog.set_config('synchronous_commit', 'off', true);
    END IF;
    holds := public.slipway_judge(
        kind, organisation, model, environment, fingerprint, reason, degraded_by, holding, run_id, actor, detail, at
    );
    COMMIT;
    written := pg_catalog.pg_logical_emit_message(true, 'slipway', '');
END
$$;

COMMENT ON FUNCTION slipway_judge IS 'What serves is found bad (degraded) or good again (recovered); whether it serves here and has that status now.';
COMMENT ON PROCEDURE slipway_judge_together IS 'slipway_judge for many writers at once: announced before it is on the disk, and returns when it is.';

GRANT USAGE ON SCHEMA public TO slipway_router, slipway_operator, slipway_admin;
GRANT SELECT ON model_registry_entries, slipway_candidates, slipway_evidence, slipway_events TO slipway_operator, slipway_admin;

-- What is append-only may be added to. The present may be changed by who deploys, and only in our columns. All of it by columns: a right to
-- a whole table would be one to lock it.
GRANT INSERT (fingerprint, document, model_name, hub_revision) ON slipway_candidates TO slipway_admin;
GRANT INSERT (sha256, kind, document) ON slipway_evidence TO slipway_admin;
GRANT
    INSERT (event_key, occurred_at, kind, organisation, model_name, environment, candidate_fingerprint, run_id, actor, detail)
    ON slipway_events TO slipway_admin;
GRANT INSERT (approver), UPDATE (last_step, wrong_codes, locked_until) ON slipway_authenticators TO slipway_admin;
GRANT
    INSERT (organisation, model_name, environment, holder, fence, acquired_at, heartbeat_at),
    UPDATE (holder, fence, acquired_at, heartbeat_at)
    ON slipway_locks TO slipway_admin;
GRANT
    INSERT (
        model_name, hub_revision, organisation, deployment_environment, deployment_namespace, deployment_endpoint, deployment_status,
        deployment_status_reason, candidate_fingerprint, helm_revision, verified_at, last_health_check_at, created_at, updated_at,
        disabled_from, health_window, deployment_git_commit
    ),
    UPDATE (
        deployment_namespace, deployment_endpoint, deployment_status, deployment_status_reason, candidate_fingerprint, helm_revision,
        verified_at, last_health_check_at, updated_at, disabled_from, health_window, deployment_git_commit
    )
    ON model_registry_entries TO slipway_admin;

REVOKE ALL ON FUNCTION slipway_disable, slipway_enable FROM PUBLIC;
GRANT EXECUTE ON FUNCTION slipway_disable, slipway_enable TO slipway_operator, slipway_admin;
GRANT SELECT ON slipway_routes TO slipway_router, slipway_operator, slipway_admin;

GRANT SELECT ON slipway_locks TO slipway_operator, slipway_admin;
GRANT SELECT ON slipway_authenticators TO slipway_admin;

-- Whoever looks for what is wrong can see whether the schema is that of the program.
GRANT SELECT ON slipway_migrations TO slipway_operator, slipway_admin;

GRANT SELECT ON slipway_chains, slipway_sealed TO slipway_operator, slipway_admin;
REVOKE ALL ON FUNCTION slipway_turn, slipway_lock_chain, slipway_chain_event, slipway_move_chains FROM PUBLIC;
GRANT EXECUTE ON FUNCTION slipway_turn TO slipway_admin;

-- Whoever may execute a trigger's function may put it on a table of his own; route() alone is for everybody.
REVOKE ALL ON FUNCTION
    slipway_chained, slipway_event_hash, slipway_place, slipway_check_status_move, slipway_refuse_change, slipway_refuse_fall,
    slipway_announce_route, slipway_canonical, slipway_fingerprint, slipway_check_candidate, slipway_check_evidence
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION slipway_canonical, slipway_fingerprint TO slipway_operator, slipway_admin;

REVOKE ALL ON FUNCTION route_through_pooler FROM PUBLIC;
GRANT EXECUTE ON FUNCTION route_through_pooler TO slipway_router, slipway_operator, slipway_admin;
REVOKE ALL ON FUNCTION slipway_judge FROM PUBLIC;
REVOKE ALL ON PROCEDURE slipway_judge_together FROM PUBLIC;
GRANT EXECUTE ON FUNCTION slipway_judge TO slipway_admin;
GRANT EXECUTE ON PROCEDURE slipway_judge_together TO slipway_admin;

-- What every reader can read: Python's times end with the year 9999, infinity is none, and its reader of JSON ends with a thousand levels.
-- NOT VALID, as where rows were there before.
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

-- A superseded row that is said to have been taken out would come back without a release.
CREATE FUNCTION slipway_refuse_taken_out() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'an entry that is % was not taken out while it was % (model %, environment %)',
        coalesce(OLD.deployment_status, 'without a status'), NEW.disabled_from, NEW.model_name, NEW.deployment_environment
        USING ERRCODE = 'check_violation', CONSTRAINT = 'slipway_taken_out', TABLE = 'model_registry_entries';
END
$$;

CREATE TRIGGER slipway_taken_out
    BEFORE UPDATE OF disabled_from ON model_registry_entries
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

-- No organisation has one name: null, also where the empty text is written. Keys and turns go by it.
CREATE FUNCTION slipway_no_organisation() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    NEW.organisation := NULL;
    RETURN NEW;
END
$$;

CREATE TRIGGER slipway_no_organisation
    BEFORE INSERT ON model_registry_entries
    FOR EACH ROW
    WHEN (NEW.organisation = '' AND NEW.deployment_environment IS NOT NULL AND NEW.hub_revision IS NOT NULL)
    EXECUTE FUNCTION slipway_no_organisation();
COMMENT ON TRIGGER slipway_no_organisation ON model_registry_entries IS 'Takes the empty organisation for none.';

REVOKE ALL ON FUNCTION slipway_no_organisation FROM PUBLIC;

-- What the console remembers: tokens, sessions that were ended, and answers to requests that may be sent again.
CREATE TABLE slipway_tokens (
    id text NOT NULL PRIMARY KEY,
    secret_sha256 text NOT NULL UNIQUE,
    label text NOT NULL,
    acts_as text NOT NULL,
    role text NOT NULL,
    models text[] NOT NULL,
    environments text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_by text,
    last_used_at timestamptz,
    CONSTRAINT slipway_tokens_hash CHECK (secret_sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT slipway_tokens_role CHECK (role IN ('viewer', 'operator', 'admin')),
    CONSTRAINT slipway_tokens_names CHECK (
        length(id) BETWEEN 1 AND 32 AND length(label) BETWEEN 1 AND 100 AND length(acts_as) BETWEEN 2 AND 100
        AND length(created_by) BETWEEN 1 AND 200 AND cardinality(models) BETWEEN 1 AND 100 AND cardinality(environments) BETWEEN 1 AND 100
    ),
    CONSTRAINT slipway_tokens_times CHECK (
        created_at BETWEEN '1000-01-02' AND '9999-12-30' AND expires_at BETWEEN '1000-01-02' AND '9999-12-30'
        AND revoked_at BETWEEN '1000-01-02' AND '9999-12-30' AND last_used_at BETWEEN '1000-01-02' AND '9999-12-30'
    )
);

COMMENT ON TABLE slipway_tokens IS 'By what machines, and people at a command line, ask the console.';
COMMENT ON COLUMN slipway_tokens.secret_sha256 IS 'Of the token, which is random and kept nowhere else.';
COMMENT ON COLUMN slipway_tokens.acts_as IS 'Whose requests they are: recorded as requester and actor.';
COMMENT ON COLUMN slipway_tokens.models IS 'Names, or beginnings of names and a star.';
COMMENT ON COLUMN slipway_tokens.last_used_at IS 'To ten minutes.';

CREATE TABLE slipway_ended_sessions (
    session_sha256 text NOT NULL PRIMARY KEY,
    forget_at timestamptz NOT NULL,
    CONSTRAINT slipway_ended_sessions_hash CHECK (session_sha256 ~ '^[0-9a-f]{64}$')
);
COMMENT ON TABLE slipway_ended_sessions IS 'Sessions of the console that somebody signed out of, until they would have ended anyway.';

CREATE TABLE slipway_api_answers (
    caller text NOT NULL,
    key text NOT NULL,
    request_sha256 text NOT NULL,
    begun_at timestamptz NOT NULL,
    status integer,
    body jsonb,
    PRIMARY KEY (caller, key),
    CONSTRAINT slipway_api_answers_names CHECK (length(caller) BETWEEN 1 AND 300 AND length(key) BETWEEN 1 AND 200),
    CONSTRAINT slipway_api_answers_hash CHECK (request_sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT slipway_api_answers_whole CHECK ((status IS NULL) = (body IS NULL))
);
CREATE INDEX slipway_api_answers_age ON slipway_api_answers (begun_at);
COMMENT ON TABLE slipway_api_answers IS 'What the console answered to requests with an Idempotency-Key, for a day; without a status, one that is under way.';

-- A function, since whoever may delete rows may lock a table against everybody.
CREATE FUNCTION slipway_forget() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
BEGIN ATOMIC
    DELETE FROM slipway_api_answers WHERE begun_at < now() - interval '1 day';
    DELETE FROM slipway_ended_sessions WHERE forget_at < now();
END;
COMMENT ON FUNCTION slipway_forget IS 'Forgets what the console need not remember any longer.';
REVOKE ALL ON FUNCTION slipway_forget FROM PUBLIC;
GRANT EXECUTE ON FUNCTION slipway_forget TO slipway_operator, slipway_admin;
GRANT SELECT, UPDATE (last_used_at) ON slipway_tokens TO slipway_operator, slipway_admin;
GRANT
    INSERT (id, secret_sha256, label, acts_as, role, models, environments, created_by, expires_at),
    UPDATE (revoked_at, revoked_by)
    ON slipway_tokens TO slipway_admin;
GRANT SELECT, INSERT (session_sha256, forget_at) ON slipway_ended_sessions TO slipway_operator, slipway_admin;
GRANT
    SELECT,
    INSERT (caller, key, request_sha256, begun_at),
    UPDATE (request_sha256, begun_at, status, body)
    ON slipway_api_answers TO slipway_operator, slipway_admin;

REVOKE ALL ON FUNCTION slipway_check_canary, slipway_announce_canary, slipway_wish FROM PUBLIC;
GRANT EXECUTE ON FUNCTION slipway_wish TO slipway_operator, slipway_admin;
GRANT SELECT ON slipway_canaries TO slipway_operator, slipway_admin;
GRANT
    INSERT (
        organisation, model_name, environment, run_id, stable_fingerprint, canary_fingerprint, canary_endpoint, steps, began_at, since
    ),
    UPDATE (
        run_id, stable_fingerprint, canary_fingerprint, canary_endpoint, weight, shadow, phase, step, steps, began_at, since, until,
        judge, judged_at, wish, wish_actor, wish_reason, wished_at, outcome, outcome_reason
    )
    ON slipway_canaries TO slipway_admin;

-- What repeats for ever may leave the registry for a file that proves itself (slipway audit archive). What is left here is where its chain goes
-- on behind it.
CREATE TABLE slipway_archived (
    chain bigint NOT NULL,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    previous_hash text NOT NULL,
    hash text NOT NULL,
    file_sha256 text NOT NULL,
    CONSTRAINT slipway_archived_pkey PRIMARY KEY (chain, first_position),
    CONSTRAINT slipway_archived_order CHECK (first_position BETWEEN 1 AND last_position),
    CONSTRAINT slipway_archived_file_hex CHECK (file_sha256 ~ '^[0-9a-f]{64}$')
);

CREATE TRIGGER slipway_archived_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON slipway_archived
    FOR EACH STATEMENT EXECUTE FUNCTION slipway_refuse_change();

COMMENT ON TABLE slipway_archived IS 'Events of a chain that lie in a file and not here any longer: from where to where, and the hashes at both ends. Append-only.';
COMMENT ON COLUMN slipway_archived.previous_hash IS 'Hash of the event before the first of them.';
COMMENT ON COLUMN slipway_archived.hash IS 'Hash of the last of them, which the next one in the chain follows.';
COMMENT ON COLUMN slipway_archived.file_sha256 IS 'Of the file that holds them; an event of the kind archived names it.';

-- Nobody but the tables' owner takes events out: it is none of the pipeline's.
GRANT SELECT ON slipway_archived TO slipway_operator, slipway_admin;
