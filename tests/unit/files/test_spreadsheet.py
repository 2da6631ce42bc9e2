"""A real spreadsheet opens what is exported, and finds no formula in it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from codewell.files.csv_writer import csv_line
from tests.unit.files.test_csv_out import LEFT, RUN

SOFFICE = shutil.which("soffice")


@pytest.mark.skipif(SOFFICE is None, reason="soffice is not here: LibreOffice has hundreds of megabytes")
@pytest.mark.parametrize("raw", [False, True])
def test_no_cell_of_an_export_is_run(tmp_path: Path, raw: bool) -> None:
    written = tmp_path / "codes.csv"
    written.write_bytes("".join(csv_line([cell, "pooled"], raw) for cell in [*RUN, *LEFT]).encode())

    own = f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}"
    command = [SOFFICE or "", "--headless", own, "--convert-to", "fods", "--outdir", str(tmp_path), str(written)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)

    # Raw, the first cell is one: so the spreadsheet does run what it is not kept from.
    assert ("table:formula" in (tmp_path / "codes.fods").read_text()) is raw
