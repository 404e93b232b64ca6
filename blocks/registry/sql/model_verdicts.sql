-- The verifications of a model, the latest first, with the figures of their evidence that are drawn over time: not the documents, which are long.
-- As JSON: what a document holds in these places is the reader's to judge.
SELECT
    e.id, e.occurred_at, e.environment, e.candidate_fingerprint AS fingerprint, e.run_id, e.detail ->> 'outcome' AS outcome,
    e.detail ->> 'sentence' AS sentence, e.detail ->> 'evidence_sha256' AS evidence_sha256,
    d.document #> '{verdict,latency,0,end_to_end,p50}' AS p50, d.document #> '{verdict,latency,0,end_to_end,p95}' AS p95,
    d.document #> '{verdict,latency,0,tokens_per_second}' AS tokens_per_second,
    d.document #> '{limits,latency,p50_seconds}' AS p50_limit, d.document #> '{limits,latency,p95_seconds}' AS p95_limit,
    d.document #> '{verdict,behaviour,exact_share}' AS exact_share, d.document #> '{verdict,behaviour,max_nats}' AS max_nats
FROM slipway_events AS e
LEFT JOIN slipway_evidence AS d ON d.sha256 = e.detail ->> 'evidence_sha256'
WHERE e.model_name = %(model)s AND e.kind = 'verified'
ORDER BY e.id DESC
LIMIT %(limit)s;
