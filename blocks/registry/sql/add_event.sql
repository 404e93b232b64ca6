-- Append an event; the same key is recorded once.
INSERT INTO slipway_events (event_key, occurred_at, kind, organisation, model_name, environment, candidate_fingerprint, run_id, actor, detail)
-- Without a key it is always a new event.
VALUES (
    coalesce(%(event_key)s::text, gen_random_uuid()::text), coalesce(%(at)s::timestamptz, clock_timestamp()), %(kind)s, %(organisation)s,
    %(model)s, %(environment)s, %(fingerprint)s, %(run_id)s, %(actor)s, %(detail)s
)
ON CONFLICT (event_key) DO NOTHING
-- No row where the key was there before: event_by_key has that event.
RETURNING
    id, occurred_at, kind, organisation, model_name AS model, environment, candidate_fingerprint AS fingerprint, run_id, actor, detail;
