"""Measuring a codec: metrics, embeddings, peers, listening pages and listening tests."""
