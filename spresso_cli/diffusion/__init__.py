"""EDM diffusion: preconditioning, noise levels, the noise field, samplers (pure functions)."""
