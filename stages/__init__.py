"""One module a DVC stage: read the settings, call the library, write outputs and metrics."""
