-- Documents whose SHA-256 begins with a prefix: two at most, enough to tell one from several.
-- Not LIKE, for which a prefix could hold wildcards.
SELECT sha256, kind, document FROM slipway_evidence WHERE starts_with(sha256, %(prefix)s) ORDER BY sha256 LIMIT 2;
