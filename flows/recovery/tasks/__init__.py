"""What recovery reads of runs and records, and what it puts right."""
