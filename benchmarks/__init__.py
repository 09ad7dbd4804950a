"""Side-by-side speed and memory: `make bench` prints one table of ratios. How it works and how one is added: README.md here."""

import sys
from pathlib import Path

PEERS = Path(__file__).resolve().parents[1] / ".peers"  # where `make bench` puts the libraries that nothing but this needs
if PEERS.is_dir() and str(PEERS) not in sys.path:
    sys.path.append(str(PEERS))
