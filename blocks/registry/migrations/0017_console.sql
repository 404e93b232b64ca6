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
LANGUAGE sql SECURITY DEFINER
BEGIN ATOMIC
    DELETE FROM slipway_api_answers WHERE begun_at < now() - interval '1 day';
    DELETE FROM slipway_ended_sessions WHERE forget_at < now();
END;
COMMENT ON FUNCTION slipway_forget IS 'Forgets what the console need not remember any longer.';
REVOKE ALL ON FUNCTION slipway_forget FROM PUBLIC;
GRANT EXECUTE ON FUNCTION slipway_forget TO slipway_operator, slipway_admin;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION slipway_forget SET search_path = pg_catalog, %I, pg_temp', current_schema());
END
$$;

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
