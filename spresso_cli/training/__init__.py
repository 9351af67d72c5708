"""Training, one module per stage of the paper; needs no more packages than decoding."""
