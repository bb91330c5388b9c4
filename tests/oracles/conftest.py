"""Settings of the tests of oracles: the helpers beside them, and the stages in their process."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "pipeline")]  # the helpers, in any import mode
