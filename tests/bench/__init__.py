"""The benchmark, what growth costs, and the soak: run by hand, with servers of their own."""

import sys
from pathlib import Path

# Where `local_stack` and its modules are; pytest's and mypy's settings say so as well.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "local"))
