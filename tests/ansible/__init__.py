"""The ansible collection, run on Debian hosts under their own systemd."""
