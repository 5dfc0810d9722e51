"""`python -m serving.server` takes tensorflow_model_server's flags; `--help` lists them."""

import sys

from serving.server.server import main

sys.exit(main())
