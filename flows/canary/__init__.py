"""Two candidates side by side: a share of the traffic first, judged while it runs."""
