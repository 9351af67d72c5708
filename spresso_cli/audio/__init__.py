"""PCM in and out: files, metadata, resampling, level, windows. No torch here."""
