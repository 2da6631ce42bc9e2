"""Files as real tools write them: what becomes a code, what does not and why, and what is refused in which words.

Each outcome was looked at by a person. `make_corpus.py` writes the workbooks.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from codewell.errors import FileRefused, FileUncertain
from codewell.files.limits import FileLimits
from codewell.files.scan import scan
from codewell.files.table import open_table
from codewell.imports.candidates import CandidateRules
from codewell.imports.chunks import chunks
from schemas.imports import ImportOptions

CORPUS = Path(__file__).with_name("corpus")
RULES = CandidateRules(datetime(2026, 12, 1, tzinfo=UTC), frozenset({"off"}), frozenset(), False)


class Case(NamedTuple):
    """A file with options, and what it comes to."""

    file: str
    options: Mapping[str, Any] = {}
    codes: Sequence[str] = ()
    bad: Mapping[int, str] = {}
    """Reasons by row."""
    refused: str | None = None
    """A part of the sentence."""
    uncertain: bool = False
    reading: Mapping[str, Any] = {}


def uncertain(file: str, says: str, **options: Any) -> Case:
    """A file that an option has to decide about."""
    return Case(file, options, refused=says, uncertain=True)


def refused(file: str, says: str, **options: Any) -> Case:
    """A file that is none."""
    return Case(file, options, refused=says)


CASES = [
    # Spreadsheets.
    Case("excel-de.csv", codes=["GN-811", "GN-812"], reading={"delimiter": ";", "encoding": "cp1252", "header_row": 1}),
    uncertain("excel-de-umlaut-code.csv", "'GRÜN-1' (windows-1252)"),
    Case("excel-de-umlaut-code.csv", {"encoding": "windows-1252"}, ["GRÜN-1", "BLAU-2"]),
    uncertain("excel-de.csv", "--encoding", field_columns={"off": "Name"}),
    Case("excel-en.csv", codes=["AB-12", "CD-34"], reading={"delimiter": ","}),
    Case("excel-fr.csv", codes=["ÉTÉ-24", "HIVER-25"], reading={"encoding": "utf-8-sig"}),
    Case("excel-utf8.csv", codes=["AB-1", "CD-2"]),
    Case("excel-unicode-text.txt", codes=["AB-1", "CD-2"], reading={"delimiter": "\t", "encoding": "utf-16"}),
    Case("excel-sep-line.csv", codes=["GN-811", "GN-812"],
         reading={"delimiter": ";", "header_row": 2, "skipped_rows": 2,
                  "column": {"number": 2, "name": "Gutscheinnummer"}}),
    Case("excel-sep-line.csv", {"column": "2"}, ["GN-811", "GN-812"]),
    Case("excel-sep-line.csv", {"column": "gutscheinnummer", "profile_column": "e-mail"}, ["GN-811", "GN-812"]),
    Case("excel-sep-line.csv", {"column": "2", "header": False}, ["Gutscheinnummer", "GN-811", "GN-812"]),
    Case("excel-sep-comma.csv", codes=["A;1", "B;2"]),
    Case("excel-sep-only-codes.csv", codes=["AB-11", "CD-22"], reading={"header_row": None, "skipped_rows": 1}),
    Case("excel-text-formulas.csv", codes=["00123", "00456"]),
    Case("excel-rounded.csv", codes=["AB-12"], bad={2: "rounded_number", 3: "rounded_number"}),
    Case("google-sheets.csv", codes=["AB-12", "CD-34"]),
    Case("libreoffice.csv", codes=["AB-12", "CD-34"]),
    Case("numbers-app.csv", codes=["AB-12", "CD-34"], reading={"header_row": 2, "skipped_rows": 2}),
    Case("mac-line-ends.csv", codes=["AB-12", "CD-34"]),
    Case("title-rows.csv", codes=["SP-1", "SP-2"],
         reading={"header_row": 3, "column": {"number": 2, "name": "Coupon Code"}}),
    uncertain("title-over-one-column.csv", "--header-row 2"),
    Case("title-over-one-column.csv", {"header_row": 2}, ["AB-12", "CD-34"], reading={"skipped_rows": 2}),
    # Shops and mailers.
    Case("shopify-bulk.csv", codes=["SAVE-AB12", "SAVE-CD34"]),
    uncertain("shopify-discounts.csv", "The columns are: 1 Name (WELCOME, SUMMER); 2 Value"),
    Case("shopify-discounts.csv", {"column": "Name"}, ["WELCOME", "SUMMER"]),
    uncertain("shopify-orders.csv", "Column 4 has the same cell again and again"),
    uncertain("woocommerce.csv", "Cannot tell which column holds the codes: name it with the option column (--column)"),
    Case("woocommerce.csv", {"column": "post_title", "field_columns": {"off": "coupon_amount"}},
         ["WELCOME-1", "WELCOME-2"]),
    Case("woocommerce-coupon-code.csv", codes=["WC-1", "WC-2"]),
    Case("mailchimp.csv", codes=["MC-1", "MC-2"], reading={"column": {"number": 3, "name": "Promo Code"}}),
    Case("magento.csv", codes=["MG-1", "MG-2"]),
    Case("stripe.csv", codes=["ST-1", "ST-2"], reading={"column": {"number": 2, "name": "Code"}}),
    Case("klaviyo.csv", {"expiry_column": "expiration date"}, ["KL-1", "KL-2"]),
    uncertain("salesforce-pipe.csv", "2 Coupon_Code__c (SF-1, SF-2)"),
    Case("salesforce-pipe.csv", {"column": "coupon_code__c"}, ["SF-1", "SF-2"], reading={"delimiter": "|"}),
    # Databases.
    Case("mysql-export.csv", codes=["MY-1", "MY-2"]),
    uncertain("postgres-copy.tsv", "1 PG-1 (PG-2); 2 2026-01-01"),
    Case("postgres-copy.tsv", {"column": "1"}, ["PG-1", "PG-2"], reading={"header_row": None, "delimiter": "\t"}),
    refused("psql-aligned.txt", "a drawn table"),
    Case("bigquery.csv", {"profile_column": "customer_id"}, ["BQ-1", "BQ-2"]),
    refused("dump.sql", "SQL"),
    refused("lines.jsonl", "JSON"),
    refused("one.json", "JSON"),
    refused("table.html", "HTML or XML"),
    refused("excel-2003.xml", "HTML or XML"),
    # Lists.
    Case("list.txt", codes=["PROMO-7F3K", "PROMO-9X2M", "PROMO-4T8W"], reading={"header_row": None, "delimiter": None}),
    Case("list-letters.txt", codes=["ABCDEF", "GHIJKL", "MNOPQR", "STUVWX"]),
    Case("list-one-code.txt", codes=["WELCOME"]),
    Case("list-quoted.txt", codes=["AB-12", "CD, 34"]),
    uncertain("list-commas.txt", "or none (one column) with the option delimiter"),
    Case("list-commas.txt", {"delimiter": "none", "header": False}, ["SAVE 10, NOW", "GET 5", "BUY 2"]),
    Case("list-under-head-commas.txt", codes=["SAVE 10, NOW", "GET 5", "BUY 2", "TAKE 3"], reading={"delimiter": None}),
    Case("list-cases.txt", codes=["Hello5", "HELLO5", "OTHER7"]),
    Case("list-blank-lines.txt", codes=["AB-12", "CD-34"], bad={1: "empty", 3: "empty", 5: "empty"}),
    Case("list-no-break-spaces.txt", codes=["AB-12"], bad={2: "unprintable", 3: "unprintable"}),
    Case("list-trailing-semicolons.txt", codes=["AB-12", "CD-34"]),
    uncertain("list-serial-head.txt", "('Serial') names the columns or holds a code"),
    Case("list-serial-head.txt", {"header": True}, ["AB12CD", "EF34GH", "IJ56KL"]),
    Case("list-serial-head.txt", {"column": "serial"}, ["AB12CD", "EF34GH", "IJ56KL"]),
    uncertain("list-capital-head.txt", "--header or --no-header"),
    Case("list-capital-head.txt", {"header": False}, ["SERIAL", "ABCDEF", "GHIJKL"]),
    uncertain("list-word-head.txt", "'Wertmarke'"),
    Case("list-numbers.txt", codes=["0012345", "0067890", "1234567890123456"]),
    uncertain("list-mails.txt", "looks like mail addresses"),
    Case("list-mails.txt", {"column": "1"}, ["ana@x.test", "bob@x.test"]),
    uncertain("list-dates.txt", "looks like dates or times"),
    uncertain("list-prose.txt", "only some rows have one"),
    uncertain("list-prose.txt", "looks like sentences", delimiter="none", header=False),
    Case("list-cyrillic.txt", codes=["АБВ-12", "ГДЕ-34"]),
    uncertain("list-cyrillic-1251.txt", "'Промокод' (windows-1251)"),
    Case("list-cyrillic-1251.txt", {"encoding": "windows-1251"}, ["АБВ-12", "ГДЕ-34"]),
    refused("head-alone.csv", "has a head (Code, Name) and no rows"),
    # Columns that are not certain.
    uncertain("two-code-columns.csv", "Several columns may hold the codes"),
    Case("two-code-columns.csv", {"column": "Voucher Code"}, ["B-1", "B-2"]),
    Case("coupon-name-and-code.csv", codes=["CN-1", "CN-2"]),
    uncertain("country-code.csv", "2 Country Code (DE, AT); 3 Voucher (V-1, V-2)"),
    refused("country-code.csv", "There is no column Vouchers", column="Vouchers"),
    uncertain("code-beside-voucher.csv", "Several columns may hold the codes"),
    uncertain("repeated-code.csv", "the same cell again and again"),
    uncertain("no-head-two-columns.csv", "1 AB-12 (CD-34); 2 10 (20)"),
    Case("no-head-two-columns.csv", {"column": "1"}, ["AB-12", "CD-34"], reading={"header_row": None}),
    uncertain("decimal-commas.csv", "comma and semicolon both fit"),
    Case("decimal-commas.csv", {"column": "1", "delimiter": "semicolon"}, ["AB-12", "CD-34"]),
    uncertain("unquoted-comma.csv", "only some rows have one"),
    Case("unquoted-comma.csv", {"delimiter": ","}, ["UC-1", "UC-3"], {3: "extra_cells"}),
    uncertain("short-head.csv", "only some rows have one"),
    uncertain("short-head.csv", "names 2 columns, but most rows have 3 cells", delimiter=","),
    refused("broken-quote.csv", "Row 2 has an unclosed quote"),
    # Cells that are no codes.
    Case("two-heads.csv", codes=["AB-1", "CD-2"], bad={3: "head_again"}),
    Case("placeholders.csv", codes=["AB-1", "CD-2", "EF-3"],
         bad={2: "placeholder", 4: "placeholder", 5: "placeholder"}),
    Case("placeholders.csv", {"profile_column": "Id"}, ["EF-3"],
         {2: "placeholder", 3: "bad_profile", 4: "placeholder", 5: "placeholder", 6: "bad_profile"}),
    Case("formulas.csv", codes=["AB-1"], bad={2: "formula"}),
    refused("contact.vcf", "a contact or calendar"),
    uncertain("comment-line.txt", "'# exported codes'"),
    # Profiles and expiries.
    Case("profiles.csv", {"profile_column": "Customer", "expiry_column": "valid until"}, ["PE-1", "PE-4"],
         {3: "bad_expiry", 4: "bad_profile", 6: "bad_expiry"}),
    # Other kinds of files.
    refused("codes.pdf", "a PDF"),
    refused("photo.png", "a picture"),
    refused("codes.csv.gz", "packed (gzip)"),
    refused("nul-bytes.csv", "neither text nor a workbook"),
    Case("utf16-no-mark.txt", codes=["AB-12", "CD-34"], reading={"encoding": "utf-16-le"}),
    # Workbooks of three libraries and of LibreOffice.
    Case("openpyxl-number-cells.xlsx", codes=["AB-12", "00123", "456", "GS-0042", "123-456"],
         bad={5: "number_cell", 6: "number_cell", 7: "number_cell", 8: "boolean_cell", 9: "date_cell",
              10: "number_cell", 12: "number_cell", 14: "number_cell", 15: "placeholder"}),
    Case("openpyxl-number-cells.xlsx", {"plain_numbers": True}, ["AB-12", "00123", "456", "789", "GS-0042", "123-456"],
         {6: "number_cell", 7: "number_cell", 8: "boolean_cell", 9: "date_cell", 10: "number_cell", 12: "number_cell",
          14: "number_cell", 15: "placeholder"}),
    Case("openpyxl-hidden-sheet.xlsx", codes=["NEW-1"], reading={"sheet": "New", "hidden_sheets": ["Old"]}),
    Case("openpyxl-hidden-sheet.xlsx", {"sheet": "Old"}, ["OLD-1"], reading={"sheet": "Old", "hidden_sheets": []}),
    uncertain("openpyxl-two-sheets.xlsx", "name one of North, South with the option sheet"),
    Case("openpyxl-two-sheets.xlsx", {"sheet": "South"}, ["SOUTH-1"]),
    refused("openpyxl-two-sheets.xlsx", "no sheet West", sheet="West"),
    Case("openpyxl-title-rows.xlsx", codes=["VO-1", "VO-2", "VO-3"], reading={"header_row": 3}),
    Case("openpyxl-title-rows.xlsx", {"profile_column": "customer"}, ["VO-1", "VO-2"], {6: "bad_profile"}),
    Case("xlsxwriter-plain.xlsx", {"field_columns": {"off": "Off"}}, ["XW-1", "XW-2", "XW-3"]),
    uncertain("xlsxwriter-hidden-rows.xlsx", "has hidden rows (1;"),
    refused("xlsxwriter-far-cell.xlsx", "spans 160,000 rows and 100 columns"),
    refused("xlsxwriter-gap.xlsx", "Rows 2 to 4,999 of the sheet are empty"),
    Case("xlsxwriter-formulas.xlsx", codes=["FO-1", "FO-3"], bad={3: "number_cell"}),
    Case("xlsxwriter-dates.xlsx", {"expiry_column": "Until"}, ["DA-1", "DA-2"], {4: "bad_expiry", 5: "bad_expiry"}),
    Case("pyexcelerate.xlsx", codes=["PX-1", "PX-2"], bad={4: "number_cell"}),
    Case("xlwt.xls", codes=["XL-1", "XL-2"], bad={4: "number_cell"}, reading={"hidden_sheets": ["Hidden"]}),
    Case("xlwt.xls", {"plain_numbers": True}, ["XL-1", "XL-2", "123"]),
    Case("xlwt-errors.xls", {"expiry_column": "until"}, ["XE-1", "XE-4"],
         {3: "bad_expiry", 4: "placeholder", 6: "placeholder"}),
    uncertain("xlwt-hidden-row.xls", "has hidden rows (1;"),
    Case("libreoffice.xlsx", {"profile_column": "customer"}, ["LO-1", "LO-2"]),
    Case("libreoffice.xls", {"profile_column": "customer"}, ["LO-1", "LO-2"]),
    refused("libreoffice.ods", "an OpenDocument file: save the codes as CSV or XLSX"),
]  # fmt: skip
IDS = [f"{place}-{case.file}" for place, case in enumerate(CASES)]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_file_comes_to_what_a_person_sees_in_it(case: Case) -> None:
    if case.refused is not None:
        with pytest.raises(FileRefused) as found:
            read(case)
        assert case.refused in str(found.value)
        assert isinstance(found.value, FileUncertain) is case.uncertain
        return
    codes, bad, reading = read(case)
    assert codes == case.codes
    assert bad == case.bad
    assert {name: reading[name] for name in case.reading} == case.reading


def read(case: Case) -> tuple[list[str], dict[int, str], dict[str, Any]]:
    path, options, limits = CORPUS / case.file, ImportOptions(**case.options), FileLimits()
    with open_table(path, scan(path, limits), options, limits) as table:
        found = list(chunks(table, RULES, limits, 0, 10_000, options))
    codes = [one.text for chunk in found for one in chunk.candidates]
    bad: dict[int, str] = {one.row: one.reason for chunk in found for one in chunk.bad}
    return codes, bad, table.reading.model_dump()


def test_every_file_has_an_outcome() -> None:
    assert {case.file for case in CASES} == {path.name for path in CORPUS.iterdir()}


def test_fields_profiles_and_expiries_are_taken_as_they_are_shown() -> None:
    def rows(name: str, **given: Any) -> list[tuple[str, str | None, Any]]:
        path, options, limits = CORPUS / name, ImportOptions(**given), FileLimits()
        with open_table(path, scan(path, limits), options, limits) as table:
            [chunk] = chunks(table, RULES, limits, 0, 100, options)
        return [
            (one.profile_id, one.kind.fields, one.kind.expires_at and one.kind.expires_at.isoformat())
            for one in chunk.candidates
        ]

    assert rows("xlsxwriter-plain.xlsx", field_columns={"off": "Off"})[:2] == [
        ("", '{"off": "10"}', None), ("", '{"off": "12.5"}', None),
    ]  # fmt: skip
    assert [one[0] for one in rows("openpyxl-title-rows.xlsx", profile_column="Customer")] == ["00123", "00123"]
    assert [one[0] for one in rows("libreoffice.xlsx", profile_column="Customer")] == ["00123", "456"]
    berlin = rows("xlsxwriter-dates.xlsx", expiry_column="Until", time_zone="Europe/Berlin")
    assert [one[2] for one in berlin] == ["2099-01-31T23:00:00+00:00", "2099-01-31T17:00:00+00:00"]
    utc = rows("xlsxwriter-dates.xlsx", expiry_column="Until")
    assert [one[2] for one in utc] == ["2099-02-01T00:00:00+00:00", "2099-01-31T18:00:00+00:00"]


def test_a_bad_row_shows_its_cell_and_what_to_write() -> None:
    path, options, limits = CORPUS / "profiles.csv", ImportOptions(expiry_column="Valid until"), FileLimits()
    with open_table(path, scan(path, limits), options, limits) as table:
        [chunk] = chunks(table, RULES, limits, 0, 100, options)
    assert [(one.row, one.detail) for one in chunk.bad] == [
        (3, "31.01.2099: must be a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z"),
        (6, "2001-01-01 has passed: give a later one"),
    ]


def test_codes_that_differ_only_in_case_are_counted() -> None:
    path, options, limits = CORPUS / "list-cases.txt", ImportOptions(), FileLimits()
    with open_table(path, scan(path, limits), options, limits) as table:
        # In two chunks.
        assert [chunk.case_variants for chunk in chunks(table, RULES, limits, 0, 1, options)] == [0, 1, 0]


@pytest.mark.parametrize(
    ("texts", "counts"),
    [
        (["AB", "CD", "AB", "ab", "Cd", "EF"], [0, 0, 0, 1, 1, 0]),
        (["ab", "12", "AB", "12"], [0, 0, 1, 0]),
        (["AB", "CD"], [0, 0]),
        (["12", "ab", "Ab", "aB"], [0, 0, 1, 1]),
    ],
)
def test_case_variants_are_found_over_chunks(tmp_path: Path, texts: list[str], counts: list[int]) -> None:
    path, options, limits = tmp_path / "codes.txt", ImportOptions(header=False), FileLimits()
    path.write_text("".join(f"{text}\n" for text in texts))
    with open_table(path, scan(path, limits), options, limits) as table:
        assert [chunk.case_variants for chunk in chunks(table, RULES, limits, 0, 1, options)] == counts
