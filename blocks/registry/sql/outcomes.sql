-- What ended, in the order of recording: the events after one of them, with the verdict that they tell or were recorded with.
SELECT
    e.id, e.occurred_at, e.kind, e.organisation, e.model_name AS model, e.environment, e.detail,
    CASE e.kind WHEN 'verified' THEN e.detail ->> 'outcome' ELSE v.document -> 'verdict' ->> 'outcome' END AS outcome
FROM slipway_events AS e
LEFT JOIN slipway_evidence AS v ON v.sha256 = e.detail ->> 'evidence_sha256' AND v.kind = 'verdict'
WHERE e.id > %(after_id)s
-- Not by time, which whoever records an event may give.
ORDER BY e.id
LIMIT %(limit)s;
