-- All events, chain by chain: where each stands, its hash, and the text of what that is taken over, after the chain and the hash before.
-- Each value with its length in bytes before it, by functions of PostgreSQL itself: what the registry's own functions say is not believed.
-- A COPY, whose plan may be a parallel one; a cursor's is not.
COPY (
    SELECT
        chain, chain_position, hash,
        ',' || octet_length(chain_position::text) || ':' || chain_position || ',' || octet_length(id::text) || ':' || id || ','
        || coalesce(octet_length(convert_to(event_key, 'UTF8')) || ':' || event_key || ',', '-,')
        || '26:' || to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || ','
        || coalesce(octet_length(convert_to(kind, 'UTF8')) || ':' || kind || ',', '-,')
        || coalesce(octet_length(convert_to(organisation, 'UTF8')) || ':' || organisation || ',', '-,')
        || coalesce(octet_length(convert_to(model_name, 'UTF8')) || ':' || model_name || ',', '-,')
        || coalesce(octet_length(convert_to(environment, 'UTF8')) || ':' || environment || ',', '-,')
        || coalesce(octet_length(convert_to(candidate_fingerprint, 'UTF8')) || ':' || candidate_fingerprint || ',', '-,')
        || coalesce(octet_length(convert_to(run_id, 'UTF8')) || ':' || run_id || ',', '-,')
        || coalesce(octet_length(convert_to(actor, 'UTF8')) || ':' || actor || ',', '-,')
        || octet_length(convert_to(detail::text, 'UTF8')) || ':' || detail || ',' AS text
    FROM slipway_events
    ORDER BY chain, chain_position
) TO STDOUT (FORMAT binary);
