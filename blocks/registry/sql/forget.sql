-- Removes what need not be remembered any longer.
SELECT slipway_forget()
