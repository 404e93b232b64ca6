-- What the last scrub of each node found; a scrub is of no model.
-- The node's name is in the detail: it is no column of events.
SELECT DISTINCT ON (environment, detail ->> 'node')
    id, occurred_at, kind, organisation, model_name AS model, environment, candidate_fingerprint AS fingerprint, run_id, actor, detail
FROM slipway_events
WHERE model_name IS NULL AND kind = 'scrubbed'
ORDER BY environment, detail ->> 'node', id DESC;
