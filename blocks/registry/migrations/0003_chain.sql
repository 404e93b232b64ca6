-- Events are chained: each row carries the SHA-256 of itself and of the row before, so that a change of any of them shows.

ALTER TABLE slipway_events
    ADD COLUMN chain_position bigint,
    ADD COLUMN previous_hash text,
    ADD COLUMN hash text;

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

-- What is there already becomes the beginning of the chain, in the order in which it was recorded.
ALTER TABLE slipway_events DISABLE TRIGGER slipway_events_append_only;
DO $$
DECLARE
    event slipway_events;
    reached bigint := 0;
    before text := repeat('0', 64);
BEGIN
    FOR event IN SELECT * FROM slipway_events ORDER BY id LOOP
        reached := reached + 1;
        event.chain_position := reached;
        event.previous_hash := before;
        before := slipway_event_hash(event);
        UPDATE slipway_events SET chain_position = reached, previous_hash = event.previous_hash, hash = before WHERE id = event.id;
    END LOOP;
END
$$;
ALTER TABLE slipway_events ENABLE TRIGGER slipway_events_append_only;

ALTER TABLE slipway_events
    ALTER COLUMN chain_position SET NOT NULL,
    ALTER COLUMN previous_hash SET NOT NULL,
    ALTER COLUMN hash SET NOT NULL,
    ADD CONSTRAINT slipway_events_chain UNIQUE (chain_position);

CREATE TRIGGER slipway_events_chained
    BEFORE INSERT ON slipway_events
    FOR EACH ROW EXECUTE FUNCTION slipway_chain_event();

CREATE INDEX slipway_events_requests ON slipway_events (id) WHERE kind = 'approval_requested';

-- What an approver's authenticator was last used for, and how often it was used wrongly.
CREATE TABLE slipway_authenticators (
    approver text NOT NULL,
    last_step bigint NOT NULL DEFAULT 0,
    wrong_codes integer NOT NULL DEFAULT 0,
    locked_until timestamptz,
    CONSTRAINT slipway_authenticators_pkey PRIMARY KEY (approver)
);

COMMENT ON COLUMN slipway_events.chain_position IS 'Place in the chain, without gaps.';
COMMENT ON COLUMN slipway_events.previous_hash IS 'Hash of the event before; zeros for the first.';
COMMENT ON COLUMN slipway_events.hash IS 'SHA-256 (hex) of all other columns; slipway audit verify computes it again.';
COMMENT ON TRIGGER slipway_events_chained ON slipway_events IS 'Sets place and hash, whatever the writer says.';
COMMENT ON TABLE slipway_authenticators IS 'Which one-time codes are used up, and who is locked out. Holds no secret.';
COMMENT ON COLUMN slipway_authenticators.last_step IS 'Time step (30 s since 1970) of the last code that was accepted; older ones never are.';
