"""The operator image's bill of materials names what is in the image, all of it, and is valid CycloneDX."""

import json
import re
import subprocess
from pathlib import Path

import pytest

import seawall

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def bill() -> dict:
    made = subprocess.run(
        [ROOT / "tools" / "sbom", "operator"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert made.returncode == 0, made.stderr
    return json.loads((ROOT / made.stdout.strip()).read_text())


def packages(bill: dict, kind: str) -> dict[str, str]:
    found = (re.match(rf"pkg:{kind}/(?:debian/)?([^@]+)@([^?#]+)", c["purl"]) for c in bill["components"])
    return {each[1].replace("_", "-").replace(".", "-"): each[2] for each in found if each}


def test_every_python_package_is_one_that_the_lock_pins_and_all_are_there(bill: dict) -> None:
    lock = (ROOT / "requirements" / "operator.txt").read_text()
    pinned = {
        name.lower().replace("_", "-").replace(".", "-"): version
        for name, version in re.findall(r"^([\w.-]+)(?:\[[\w,.-]+\])?==([^\s;\\]+)", lock, re.MULTILINE)
    }
    found = packages(bill, "pypi")
    assert found.pop("seawall") == seawall.__version__
    assert found == pinned


def test_debian_packages_are_named_with_version_and_release(bill: dict) -> None:
    found = packages(bill, "deb")
    assert found["python3"].startswith("3.11")
    assert {"libc6", "ca-certificates"} <= found.keys()
    assert not {"gcc", "python3-pip", "binutils"} & found.keys()


def test_the_bill_says_which_image_it_is_of(bill: dict) -> None:
    assert bill["metadata"]["component"]["name"] == "localhost/seawall/operator:dev"
    assert re.fullmatch("[0-9a-f]{64}", bill["metadata"]["component"]["hashes"][0]["content"])
