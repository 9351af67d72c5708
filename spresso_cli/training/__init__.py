"""Training, one module per stage of the paper; it needs no packages that decoding does not."""
