"""`python -m rayetl`, the same as the `rayetl` command."""

import sys

from rayetl.cli import main

sys.exit(main())
