"""`python -m serving.server` takes tensorflow_model_server's flags; `--help` lists them."""

import sys

from serving.server import polling

polling.in_the_thread_that_waits()

from serving.server.server import main  # noqa: E402 - imports grpc

sys.exit(main())
