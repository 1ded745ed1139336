"""`python -m tacit` is `tacit`."""

import sys

from tacit.cli import main

sys.exit(main())
