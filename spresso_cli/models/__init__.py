"""The networks of spresso, one a file; they import torch, and nothing of ours from elsewhere."""
