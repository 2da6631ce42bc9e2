"""`python -m tools.chart files` writes the chart's generated files, `python -m tools.chart check` checks the chart."""

import sys

from tools.chart import check, files, helm

if sys.argv[1:] == ["files"]:
    files.write()
elif sys.argv[1:] != ["check"]:
    sys.exit(f"{__doc__}")
elif helm.helm() is None:
    print("The chart is not checked: there is no helm. Install it, or name it in HELM.")  # noqa: T201
else:
    try:
        found = check.wrong()
    except helm.ChartRefused as error:
        sys.exit(str(error))
    if found:
        sys.exit("\n".join(found))
