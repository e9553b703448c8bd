"""The suites on other versions of servers, Python and packages: `./deploy/local/matrix`.

What starts servers stands in `deploy/local`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "local"))
