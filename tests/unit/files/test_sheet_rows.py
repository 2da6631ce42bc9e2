"""Rows of the usual form are read by regular expressions as expat reads them, at each end of a piece."""

import random
import re
from io import BytesIO

import pytest

from codewell.files import sheet_rows, sheet_xml
from codewell.files.sheet_xml import SheetRefused

FORMATS = ["General", "000000", "0"]
# Of the usual form, and in each way unlike it.
CELLS = [
    '<c r="A{n}" t="inlineStr"><is><t>AB-{n}</t></is></c>',
    '<c r="A{n}" s="2" t="s"><v>{n}</v></c>',
    '<c r="B{n}" s="1"><v>{n}</v></c>',
    '<c r="C{n}"><v>1.5</v></c>',
    '<c r="D{n}" s="1" t="n"><v> 7 </v></c>',
    '<c r="E{n}" t="str"><v>x</v></c>',
    '<c r="F{n}" s="9"/>',
    '<c r="G{n}" t="inlineStr"><is><t xml:space="preserve"> \u0416&amp;\u00e9 </t></is></c>',
    '<c r="O{n}" s="1" t="e"><v>#N/A</v></c>',
    '<c r="P{n}"><v> </v></c>',
    '<c s="1" r="H{n}"><v>{n}</v></c>',
    "<c r='I{n}' s='1'><v>{n}</v></c>",
    '<c s="1"><v>{n}</v></c>',
    '<x:c r="J{n}" s="1"><x:v>{n}</x:v></x:c>',
    '<c r="K{n}"><f>A1&lt;2</f><v>{n}</v></c>',
    '<c r="Q{n}" t="e"><f>1/0</f><v>#DIV/0!</v></c>',
    '<c r="R{n}" s="1"><f>A1&lt;2</f><v></v></c>',
    '<c r="S{n}" t="str"><f>A1</f><v/></c>',
    '<c r="L1" s="1"><v>{n}</v></c>',
    '<c r="M{n}" s="1"><v>&#49;</v></c>',
    '<c r="N{n}" s="1"><v>{n}<?x?></v></c>',
]
ROWS = [
    '<row r="{n}">{cells}</row>',
    '<row r="{n}" spans="1:9" ht="12.8" hidden="false" x14ac:dyDescent="0.2">\n{cells}</row>\n',
    '<row r="{n}" hidden="1">{cells}</row>',
    '<row r="{n}" ht="0" customHeight="1">{cells}</row>',
    '<row spans="1:9" r="{n}">{cells}</row>',
    "<row>{cells}</row>",
    '<row r="{n}"/>',
    '<x:row r="{n}">{cells}</x:row>',
    '<!-- <row r="{n}">{cells}</row> -->',
    '<row r="{n}">{cells}</row><![CDATA[<row r="{n}">{cells}</row>]]>',
    '<?x <row r="{n}"><c r="A{n}" s="1"><v>{n}</v></c></row>?>',
]


def sheet(seed: int, unusual: float) -> bytes:
    """A sheet of some rows, of which about this share is not of the usual form."""
    chosen = random.Random(seed)

    def one(forms: list[str], usual: int) -> str:
        return chosen.choice(forms if chosen.random() < unusual else forms[:usual])

    rows = "".join(
        one(ROWS, 2).format(n=n, cells="".join(one(CELLS, 10).format(n=n) for _ in range(chosen.randrange(4))))
        for n in range(1, 40)
    )
    head = "<?xml version='1.0'?><worksheet xmlns:x='x' xmlns:x14ac='y'><dimension ref='A1:B2'/><sheetData>"
    return f"{head}{rows}</sheetData><pageMargins/></worksheet>".encode()


def read(content: bytes) -> object:
    return (
        sheet_xml.measure(BytesIO(content), 1_000),
        list(sheet_xml.noted_cells(BytesIO(content), FORMATS)),
    )


@pytest.mark.parametrize("seed", range(60))
def test_a_sheet_is_read_as_by_expat_alone(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    content = sheet(seed, unusual=(0.0, 0.05, 0.5)[seed % 3])
    monkeypatch.setattr(sheet_rows, "_PIECE_BYTES", 50 + 31 * seed)
    found = read(content)
    monkeypatch.setattr(sheet_rows, "_ROWS", re.compile(b"(?!)"))
    assert found == read(content)


def test_an_instruction_that_begins_a_piece_has_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"<worksheet><sheetData>"
    row = b'<row r="%d"><c r="A%d"><v>1</v></c></row>'
    monkeypatch.setattr(sheet_rows, "_PIECE_BYTES", len(head) + 1)
    content = head + b"<?x " + row % (7, 7) + b"?>" + row % (1, 1) + b"</sheetData></worksheet>"
    assert sheet_xml.measure(BytesIO(content), 1_000).rows == 1


def test_rows_of_the_usual_form_do_not_go_through_expat(monkeypatch: pytest.MonkeyPatch) -> None:
    content = sheet(0, unusual=0)
    seen = []
    monkeypatch.setattr(sheet_rows, "_PIECE_BYTES", len(content))
    monkeypatch.setattr(sheet_xml._Measure, "start", lambda _, tag, __: seen.append(tag))
    sheet_xml.measure(BytesIO(content), 1_000)
    # The last one is left to it, as it may go on.
    assert seen.count("row") == 1


@pytest.mark.parametrize(
    "cell",
    [
        '<c r="A2" t="inlineStr"><is><t>\xff</t></is></c>',
        '<c r="A2" t="inlineStr"><is><t>&x;</t></is></c>',
        '<c r="A2" t="str"><v>\x01</v></c>',
        '<c r="A2"><v>&x;</v></c>',
    ],
)
def test_what_expat_refuses_is_refused_in_rows_of_the_usual_form(cell: str) -> None:
    rows = f'<row r="1"><c r="A1"><v>1</v></c></row><row r="2">{cell}</row><row r="3"/>'
    with pytest.raises(sheet_xml.XML_ERRORS):
        sheet_xml.measure(BytesIO(f"<worksheet>{rows}</worksheet>".encode("latin-1")), 1_000)


def test_a_far_cell_of_the_usual_form_is_refused() -> None:
    far = '<worksheet><row r="160000"><c r="CV160000"><v>1</v></c></row><row r="160001"/></worksheet>'
    with pytest.raises(SheetRefused, match="spans 160,000 rows and 100 columns"):
        sheet_xml.measure(BytesIO(far.encode()), 1_000)
