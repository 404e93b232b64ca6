-- Every document of evidence with the hash that it is known by.
SELECT sha256, document
FROM slipway_evidence
ORDER BY created_at, sha256;
