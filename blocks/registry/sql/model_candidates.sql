-- The candidates of a model that runs took into their hands, the latest first.
WITH begun AS (
    SELECT candidate_fingerprint AS fingerprint, min(occurred_at) AS begun_at, max(id) AS last
    FROM slipway_events
    WHERE model_name = %(model)s AND kind = ANY(%(beginnings)s) AND candidate_fingerprint IS NOT NULL
    GROUP BY candidate_fingerprint
    ORDER BY last DESC
    LIMIT %(limit)s
)
SELECT b.fingerprint, c.document, b.begun_at
FROM begun AS b
JOIN slipway_candidates AS c USING (fingerprint)
ORDER BY b.last DESC;
