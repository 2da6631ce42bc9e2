"""`python -m benchmarks NAME` runs one benchmark; `codewell bench NAME` does so too."""

import logging

from benchmarks.commands import bench

if __name__ == "__main__":
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    bench(prog_name="codewell bench")
