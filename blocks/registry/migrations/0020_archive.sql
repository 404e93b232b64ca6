-- What repeats for ever may leave the registry for a file that proves itself (`slipway audit archive`). What is left here is where its chain goes
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
