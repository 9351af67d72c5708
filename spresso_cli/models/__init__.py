"""The networks of spresso, one per file; they import torch, but no other part of spresso."""
