"""What the mesh does on VMs, proven on Debian hosts under their own systemd."""
