-- Whether this server takes writes: not a standby, and not a primary that was set to be read only.
SELECT current_setting('transaction_read_only') = 'off';
