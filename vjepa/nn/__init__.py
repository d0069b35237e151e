"""The networks: torch modules with plain arguments, no files and no settings objects."""
