"""Writes the workbooks of `corpus/`: `python -m tests.unit.files.make_corpus`.

Needs openpyxl, xlsxwriter, pyexcelerate and xlwt (`pip install`), and LibreOffice Calc (`soffice`), none of which the
tests need: the files are committed. The text files beside them are their own source.
"""

import importlib
import shutil
import subprocess
import tempfile
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).with_name("corpus")


def main() -> None:
    """Write all workbooks."""
    _openpyxl()
    _xlsxwriter()
    _pyexcelerate()
    _xlwt()
    _libreoffice()


def _library(name: str) -> Any:
    return importlib.import_module(name)


def _openpyxl() -> None:
    library = _library("openpyxl")
    book = library.Workbook()
    sheet = book.active
    sheet.append(["Code", "Shown as"])
    for value, number_format in (
        ("AB-12", "@"), (123, "00000"), (456, "@"), (789, "General"), (6.02e23, "General"), (1234567890123456, "0"),
        (True, "General"), (date(2026, 3, 10), "mmm-yy"), (12.5, "0.00"), (42, '"GS-"0000'), (0.1, "0%"),
        (123456, "000-000"), (1000, "#,##0"),
    ):  # fmt: skip
        sheet.append([value, number_format])
        sheet.cell(sheet.max_row, 1).number_format = number_format
    sheet.append(["#N/A", "error"])
    sheet.cell(sheet.max_row, 1).data_type = "e"
    book.save(HERE / "openpyxl-number-cells.xlsx")

    book = library.Workbook()
    book.active.title = "Old"
    book.active.append(["Code"])
    book.active.append(["OLD-1"])
    book.active.sheet_state = "hidden"
    new = book.create_sheet("New")
    new.append(["Code"])
    new.append(["NEW-1"])
    book.create_sheet("Empty")
    book.active = 1
    book.save(HERE / "openpyxl-hidden-sheet.xlsx")

    book = library.Workbook()
    for name in ("North", "South"):
        sheet = book.create_sheet(name)
        sheet.append(["Code"])
        sheet.append([f"{name.upper()}-1"])
    book.save(HERE / "openpyxl-two-sheets.xlsx")

    book = library.Workbook()
    for row in (["Voucher export", None], [None, None], ["Customer", "Voucher code"], ["00123", "VO-1"]):
        book.active.append(row)
    book.active.append([123, "VO-2"])
    book.active.cell(5, 1).number_format = "00000"
    book.active.append([124, "VO-3"])
    book.save(HERE / "openpyxl-title-rows.xlsx")


def _xlsxwriter() -> None:
    library = _library("xlsxwriter")
    book = library.Workbook(HERE / "xlsxwriter-plain.xlsx")
    sheet = book.add_worksheet("Codes")
    for place, row in enumerate((["Name", "Promo code", "Off"], ["Ana", "XW-1", 10], ["Bob", "XW-2", 12.5])):
        sheet.write_row(place, 0, row)
    sheet.write_rich_string(3, 1, "XW", book.add_format({"bold": True}), "-3")
    sheet.write_string(3, 0, "Cid")
    book.close()

    book = library.Workbook(HERE / "xlsxwriter-hidden-rows.xlsx")
    sheet = book.add_worksheet()
    sheet.write_column(0, 0, ["Code", "HR-1", "HR-2", "HR-3"])
    sheet.set_row(2, None, None, {"hidden": True})
    book.close()

    book = library.Workbook(HERE / "xlsxwriter-far-cell.xlsx")
    sheet = book.add_worksheet()
    sheet.write("A1", "FC-1")
    sheet.write("CV160000", "FC-2")
    book.close()

    book = library.Workbook(HERE / "xlsxwriter-gap.xlsx")
    sheet = book.add_worksheet()
    sheet.write("A1", "GAP-1")
    sheet.write("A5000", "GAP-2")
    book.close()

    book = library.Workbook(HERE / "xlsxwriter-formulas.xlsx")
    sheet = book.add_worksheet()
    sheet.write("A1", "Code")
    sheet.write_formula("A2", '="FO-"&1', None, "FO-1")
    sheet.write_formula("A3", "=1+1", None, 2)
    sheet.write("A4", "FO-3")
    book.close()

    book = library.Workbook(HERE / "xlsxwriter-dates.xlsx")
    sheet = book.add_worksheet()
    day, moment = book.add_format({"num_format": "dd.mm.yyyy"}), book.add_format({"num_format": "dd.mm.yyyy hh:mm"})
    sheet.write_row(0, 0, ["Code", "Until"])
    sheet.write_column(1, 0, ["DA-1", "DA-2", "DA-3", "DA-4"])
    sheet.write_datetime(1, 1, datetime(2099, 1, 31), day)  # noqa: DTZ001  cells have no zone
    sheet.write_datetime(2, 1, datetime(2099, 1, 31, 18), moment)  # noqa: DTZ001
    sheet.write_string(3, 1, "31.01.2099")
    sheet.write_number(4, 1, 72684)
    book.close()


def _pyexcelerate() -> None:
    library = _library("pyexcelerate")
    book = library.Workbook()
    book.new_sheet("Codes", data=[["Coupon Code", "Points"], ["PX-1", 10], ["PX-2", 20], [123456, 30]])
    book.save(str(HERE / "pyexcelerate.xlsx"))


def _xlwt() -> None:
    library = _library("xlwt")
    book = library.Workbook()
    sheet = book.add_sheet("Codes")
    padded = library.easyxf(num_format_str="00000")
    for place, row in enumerate((["Code", "Name"], ["XL-1", "Ana"], ["XL-2", "Bob"])):
        for at, cell in enumerate(row):
            sheet.write(place, at, cell)
    sheet.write(3, 0, 123, padded)
    hidden = book.add_sheet("Hidden")
    hidden.write(0, 0, "Code")
    hidden.visibility = 1
    book.save(str(HERE / "xlwt.xls"))

    book = library.Workbook()
    sheet = book.add_sheet("Codes")
    for place, row in enumerate((["Code", "Until"], ["XE-1", "2099-01-31"], ["XE-2"], [], ["XE-4"], [])):
        for at, cell in enumerate(row):
            sheet.write(place, at, cell)
    for place, column in ((2, 1), (3, 0), (5, 0)):
        sheet.row(place).set_cell_error(column, 0x2A)
    book.save(str(HERE / "xlwt-errors.xls"))

    book = library.Workbook()
    sheet = book.add_sheet("Codes")
    for place, text in enumerate(("Code", "XH-1", "XH-2", "XH-3")):
        sheet.write(place, 0, text)
    sheet.row(2).hidden = True
    book.save(str(HERE / "xlwt-hidden-row.xls"))


def _libreoffice() -> None:
    """The same small table in the formats that LibreOffice writes."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "libreoffice.csv"
        source.write_text("Code,Customer,Since\nLO-1,00123,2026-03-10\nLO-2,456,2026-03-11\n")
        profile = f"-env:UserInstallation={(Path(directory) / 'profile').as_uri()}"
        # Columns 1 and 2 as text.
        read_as = "CSV:44,34,76,1,1/2/2/2"
        for kind in ("xlsx", "ods", "xls"):
            command = [
                shutil.which("soffice") or "soffice", "--headless", profile, f"--infilter={read_as}", "--convert-to",
                kind, "--outdir", directory, str(source),
            ]  # fmt: skip
            subprocess.run(command, check=True, capture_output=True, timeout=180)
            shutil.copy(source.with_suffix(f".{kind}"), HERE / f"libreoffice.{kind}")


if __name__ == "__main__":
    main()
