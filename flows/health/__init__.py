"""Health of what is routed: what the monitor concludes of an answer, and what people switch off and on."""
