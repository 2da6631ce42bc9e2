"""One whole scenario with the client that openapi-python-client makes: scenario.py URL TOKEN NAME."""

import sys
import time
from io import BytesIO

from codewell_api import AuthenticatedClient
from codewell_api.api.codes import activate_code, attach_code, export_codes, show_code
from codewell_api.api.imports import import_file, show_import
from codewell_api.api.programs import create_program, remove_program
from codewell_api.models import (
    Activate,
    Attach,
    AttachAnswer,
    BodyImportFile,
    Code,
    Import,
    ImportSource,
    Problem,
    Program,
    ProgramAnswer,
    ProgramSettings,
)
from codewell_api.types import File

url, token, name = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=token)

settings = ProgramSettings(name=name, source=ImportSource(kind="import"), codes_max=10)
made = create_program.sync(client=client, body=settings, idempotency_key=f"create-{name}")
assert isinstance(made, ProgramAnswer), made
assert made.name == name

upload = File(BytesIO(f"Code\n{name}-1\n{name}-2\n".encode()), file_name="codes.csv", mime_type="text/csv")
begun = import_file.sync(name, client=client, body=BodyImportFile(file=upload, column="Code"))
assert isinstance(begun, Import), begun
give_up = time.monotonic() + 30
while begun.state == "running":
    assert time.monotonic() < give_up
    time.sleep(0.1)
    seen = show_import.sync(begun.id, client=client)
    assert isinstance(seen, Import), seen
    begun = seen
assert (begun.state, begun.imported) == ("done", 2), begun

attached = attach_code.sync(name, client=client, body=Attach(profile_id="p-1"), idempotency_key=f"attach-{name}")
assert isinstance(attached, AttachAnswer), attached
looked_up = show_code.sync(name, attached.code, client=client)
assert isinstance(looked_up, Code), looked_up
assert (looked_up.state, looked_up.profile_id) == ("attached", "p-1")

activated = activate_code.sync(name, client=client, body=Activate(code=attached.code))
assert isinstance(activated, Code), activated
assert activated.state == "activated"
refused = activate_code.sync(name, client=client, body=Activate(code=attached.code))
assert isinstance(refused, Problem), refused
assert (refused.reason, refused.type_) == ("code_used", "/problems/code-used")

exported = export_codes.sync(name, client=client)
assert isinstance(exported, str), exported
assert len(exported.splitlines()) == 3
assert attached.code in exported

assert isinstance(remove_program.sync(name, client=client), Program)
sys.stdout.write(f"passed: {refused.detail}\n")
