"""What becomes of a write before it is kept: who may, defaults, validation, quota, apply; and the store that keeps it."""
