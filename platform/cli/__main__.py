"""`python -m wsss.platform.cli` is `wsss`."""

import sys

from .parser import main

sys.exit(main())
