"""Runs one service of a stack, in a process of its own that is started before the servers are ready.

It imports the service, which takes as long as Kafka's start, and then reads its settings, which name the servers: one
line of JSON on standard input. Without that line the stack has ended.
"""

import json
import os
import sys
from importlib import import_module

from codewell.errors import CodewellError


def main() -> None:
    """Run the service that the first argument names, until it ends."""
    service = import_module(f"services.{sys.argv[1]}.main")
    variables = sys.stdin.readline()
    if not variables:
        return
    os.environ.update(json.loads(variables))
    try:
        service.main()
    except CodewellError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
