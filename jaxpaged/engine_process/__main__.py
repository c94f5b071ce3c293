"""`python -m jaxpaged.engine_process DIRECTORY ENGINE`."""

import sys

from jaxpaged.engine_process.loop import main

if __name__ == "__main__":
    sys.exit(main())
