"""One of the machines that train together: waits for a job, does its part, and ends.

    python -m components.training.member FOLDER

TF_CONFIG names the machines and this one's place among them. A machine does one job a process, because TensorFlow joins a cluster once:
whatever started this has to start it again.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from components.errors import UsageError
from components.training import jobs
from components.training.cluster import Cluster


def main() -> int:
    """Does one job; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="what model.distribution.jobs of the pipeline file names")
    folder = parser.parse_args().folder
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    try:
        cluster = Cluster.of(os.environ)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code

    job = jobs.take(folder)
    # TensorFlow is imported once there is something to do: a machine that waits holds little memory.
    from components.training import trainer

    refused = None
    try:
        trainer.train(job)
    except UsageError as error:
        refused = str(error)
    # Any other error ends this process; started again, it takes the same job up.
    if cluster.is_chief:
        jobs.finish(job, folder, refused)
    else:
        jobs.wait_until_done(job, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
