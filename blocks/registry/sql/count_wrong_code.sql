-- A wrong code: counted, and at the limit the approver is locked out.
UPDATE slipway_authenticators
SET
    -- Counted anew after the lock-out.
    wrong_codes = CASE WHEN wrong_codes + 1 >= %(limit)s THEN 0 ELSE wrong_codes + 1 END,
    locked_until = CASE WHEN wrong_codes + 1 >= %(limit)s THEN %(locked_until)s::timestamptz ELSE locked_until END
WHERE approver = %(approver)s;
