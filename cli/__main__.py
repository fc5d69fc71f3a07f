"""`python -m cli`: the same as `aos`, without an installation."""

import sys

from .main import main

sys.exit(main())
