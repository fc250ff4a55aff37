"""Applies a plan under guard, for a test to kill: ``applier.py DIRECTORY NFT...``.

It asks for a confirmation that nobody gives, and says ``applied`` when it does.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from mesh.capture import applying
from mesh.capture.control import Control
from mesh.capture.nft import Nft
from tests.capture.plans import everything


def main() -> None:
    """Apply, and wait to be killed."""

    def confirm(seconds: float) -> bool:
        sys.stdout.write("applied\n")
        sys.stdout.flush()
        time.sleep(seconds)
        return False

    directory, *command = sys.argv[1:]
    applying.apply(
        Nft(command), everything(), Control(), confirm=confirm, directory=Path(directory)
    )


if __name__ == "__main__":
    main()
