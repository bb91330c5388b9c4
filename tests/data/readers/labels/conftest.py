"""The folder of helpers of the tests of label files."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the helper beside this file, in any import mode
