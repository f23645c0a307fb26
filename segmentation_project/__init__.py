"""The project: settings, addresses, errors, and the commands that start it."""

import os

# One thread a process for numeric libraries: requests and jobs bring their own parallelism, and
# a second level of threads only makes them wait for each other. Read when numpy is imported.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
