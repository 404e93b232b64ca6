-- The latest release that became ready in an environment: of any candidate, or of one.
SELECT
    id, occurred_at, kind, organisation, model_name AS model, environment, candidate_fingerprint AS fingerprint, run_id, actor, detail
FROM slipway_events
WHERE model_name = %(model)s
    AND environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    AND kind = 'ready'
    AND (%(fingerprint)s::text IS NULL OR candidate_fingerprint = %(fingerprint)s)
ORDER BY id DESC
LIMIT 1;
