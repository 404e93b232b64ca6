-- Make the row of an approver who has none.
INSERT INTO slipway_authenticators (approver)
VALUES (%(approver)s)
ON CONFLICT (approver) DO NOTHING;
