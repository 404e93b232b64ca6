-- What an approver's authenticator was last used for; nobody else changes it until the transaction ends.
SELECT last_step, wrong_codes, locked_until
FROM slipway_authenticators
WHERE approver = %(approver)s
FOR UPDATE;
