"""Entry point of `python -m wsss.platform.cli`, which is the command `wsss`."""

import sys

from .parser import main

sys.exit(main())
