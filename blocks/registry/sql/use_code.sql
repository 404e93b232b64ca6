-- A right code: used up, and earlier mistakes forgotten.
UPDATE slipway_authenticators
SET last_step = %(step)s, wrong_codes = 0, locked_until = NULL
WHERE approver = %(approver)s;
