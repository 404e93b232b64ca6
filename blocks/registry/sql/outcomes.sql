-- What ended, in the order of recording: the events after one of them, and of verifications what they came to.
SELECT
    id, occurred_at, kind, organisation, model_name AS model, environment, detail,
    CASE kind WHEN 'verified' THEN detail ->> 'outcome' END AS outcome
FROM slipway_events
WHERE id > %(after_id)s
-- Not by time, which whoever records an event may give.
ORDER BY id
LIMIT %(limit)s;
