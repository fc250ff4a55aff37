"""``python -m mesh.cli``: the ``mesh`` command without its script."""

from mesh.cli.main import main

main()
