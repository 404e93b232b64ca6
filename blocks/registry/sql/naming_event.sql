-- The first event of a run that names a document of evidence, or the page of one.
SELECT
    id, occurred_at, kind, organisation, model_name AS model, environment, candidate_fingerprint AS fingerprint, run_id, actor, detail
FROM slipway_events
WHERE run_id = %(run_id)s
    AND %(sha256)s IN (detail ->> 'evidence_sha256', detail ->> 'page_sha256')
ORDER BY id
LIMIT 1;
