-- Each model in an environment has a chain of events of its own, and the chain's end is a row: who writes there waits for who writes there,
-- and for nobody else. The row is also the place's turn. Nobody but the owner may lock it, other than by writing there: the advisory locks
-- that did both before could be taken by everybody.
--
-- The chain that was there goes on as chain 0, as long as it is hashed as it was. What it holds from now on are seals: events of the kind
-- `sealed` with the ends of all chains that went on since the seal before. So the end of chain 0 still stands for everything before it.

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

INSERT INTO slipway_chains (chain, place, position, hash)
OVERRIDING SYSTEM VALUE
SELECT 0, '*', coalesce(last.chain_position, 0), coalesce(last.hash, repeat('0', 64))
FROM (VALUES (1)) AS one (row)
LEFT JOIN (SELECT chain_position, hash FROM slipway_events ORDER BY chain_position DESC LIMIT 1) AS last ON true;

ALTER TABLE slipway_events
    ADD COLUMN chain bigint NOT NULL DEFAULT 0,
    DROP CONSTRAINT slipway_events_chain;
ALTER TABLE slipway_events ADD CONSTRAINT slipway_events_chain UNIQUE (chain, chain_position);

CREATE FUNCTION slipway_place(organisation text, model text, environment text) RETURNS text
LANGUAGE sql STABLE
RETURN jsonb_build_array(organisation, model, environment)::text;

-- Chain 0 is hashed without its number, as before there were others.
CREATE OR REPLACE FUNCTION slipway_event_hash(event slipway_events) RETURNS text
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

-- The end of a place's chain, which nobody else moves before the end of the transaction.
CREATE FUNCTION slipway_lock_chain(wanted text) RETURNS slipway_chains
LANGUAGE plpgsql
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
LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    PERFORM slipway_lock_chain(slipway_place(organisation, model, environment));
END
$$;

-- With its owner's rights: writers may neither read nor lock the ends of chains otherwise.
CREATE OR REPLACE FUNCTION slipway_chain_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    head slipway_chains;
    last record;
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
        head := slipway_lock_chain(slipway_place(NEW.organisation, NEW.model_name, NEW.environment));
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

-- After the insert: a row whose key was there already is none, and moves no chain.
CREATE FUNCTION slipway_move_chains() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    UPDATE slipway_chains AS c
    SET position = latest.chain_position, hash = latest.hash
    FROM (SELECT DISTINCT ON (a.chain) a.chain, a.chain_position, a.hash FROM added AS a ORDER BY a.chain, a.chain_position DESC) AS latest
    WHERE c.chain = latest.chain;
    INSERT INTO slipway_sealed (chain, position)
    SELECT (sealed.part ->> 0)::bigint, max((sealed.part ->> 1)::bigint)
    FROM added AS a, jsonb_array_elements(a.detail -> 'chains') AS sealed (part)
    WHERE a.chain = 0
    GROUP BY 1
    ON CONFLICT (chain) DO UPDATE SET position = excluded.position;
    RETURN NULL;
END
$$;

CREATE TRIGGER slipway_events_counted
    AFTER INSERT ON slipway_events
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION slipway_move_chains();

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

GRANT SELECT ON slipway_chains, slipway_sealed TO slipway_operator, slipway_admin;
REVOKE ALL ON FUNCTION slipway_turn, slipway_lock_chain, slipway_chain_event, slipway_move_chains FROM PUBLIC;
GRANT EXECUTE ON FUNCTION slipway_turn TO slipway_admin;
