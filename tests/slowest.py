"""Print the slowest tests of the last runs: `python -m tests.slowest REPORT...`, each in JUnit's format."""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

COUNT = 50


def main(reports: list[str]) -> None:
    cases = [case for report in reports if Path(report).exists() for case in ET.parse(report).iter("testcase")]
    if not cases:
        sys.exit("No run is recorded yet: make test or make test-slow.")
    cases.sort(key=lambda case: float(case.attrib["time"]), reverse=True)
    for case in cases[:COUNT]:
        sys.stdout.write(f"{float(case.attrib['time']):8.2f} s  {case.attrib['classname']}::{case.attrib['name']}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
