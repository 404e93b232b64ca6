-- What the judge has seen so far.
UPDATE slipway_canaries
SET judge = %(judge)s, judged_at = %(at)s
WHERE model_name = %(model)s AND environment = %(environment)s AND coalesce(organisation, '') = coalesce(%(organisation)s::text, '')
    AND phase <> 'ended';
