"""What every request passes, whoever asks: headers, sizes, rates, ids of requests, and the form of every error. It knows no model."""
