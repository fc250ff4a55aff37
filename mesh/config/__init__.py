"""Settings: read from file and environment once, parsed into frozen models, passed on."""
