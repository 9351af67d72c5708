"""Training, one module per stage of the paper; needs the same packages as decoding, nothing more."""
