"""The front door: one module per command group; nothing else in the package knows typer or rich."""
