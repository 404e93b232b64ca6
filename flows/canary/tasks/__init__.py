"""What a canary touches outside: its steps, looks at both candidates, and the wait until one has nothing left to do."""
