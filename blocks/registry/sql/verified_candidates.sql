-- Every candidate that was ever ready in an environment, once each.
SELECT DISTINCT candidate_fingerprint AS fingerprint
FROM slipway_events
WHERE model_name = %(model)s
    AND environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    AND kind = 'ready'
    AND candidate_fingerprint IS NOT NULL
ORDER BY candidate_fingerprint;
