"""The `.spr` and `.sprb` containers: bytes <-> frozen values (format_spec.md). No torch here."""
