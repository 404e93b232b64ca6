-- What serves is found bad, or good again; whether it was moved. Not in a transaction: the procedure ends one itself (migration 0013).
CALL slipway_judge_together(
    %(kind)s, %(organisation)s, %(model)s, %(environment)s, %(fingerprint)s, %(reason)s, %(degraded_by)s, %(holding)s::text[],
    %(run_id)s, %(actor)s, %(detail)s, %(at)s::timestamptz, NULL
);
