"""A service mesh for estates of VMs and Kubernetes over Consul and Vault.

Start with ``docs/architecture.md``; the rooms below import only downwards, as
``[tool.importlinter]`` in ``pyproject.toml`` lists them.
"""
