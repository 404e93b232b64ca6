-- The latest verification that a candidate passed in an environment: a release's own, a nightly one, or one that found it good again.
-- Health checks that are good again are none: they name no evidence.
SELECT
    id, occurred_at, kind, organisation, model_name AS model, environment, candidate_fingerprint AS fingerprint, run_id, actor, detail
FROM slipway_events
WHERE candidate_fingerprint = %(fingerprint)s
    AND model_name = %(model)s
    AND environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    AND kind = ANY(%(passed)s)
    AND detail ->> 'evidence_sha256' IS NOT NULL
ORDER BY id DESC
LIMIT 1;
