"""How people read lists, sizes and what strangers wrote."""
