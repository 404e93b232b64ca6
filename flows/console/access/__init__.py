"""Who asks, and what they may: sign-in, a proxy's word, tokens of machines; roles by model and environment. No release is decided here."""
