"""`python -m jaxpaged` is the command `jaxpaged`."""

import sys

from jaxpaged.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
