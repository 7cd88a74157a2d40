"""tools/audit: a finding is open until somebody wrote down why it may stay, and silence is no verdict."""

import importlib.machinery
import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "audit"
FINDING = {
    "name": "torch",
    "version": "2.13.0",
    "vulns": [{"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1", "GHSA-1"], "fix_versions": ["2.13.1"]}],
}


@pytest.fixture(scope="module")
def audit():
    loader = importlib.machinery.SourceFileLoader("audit_tool", str(TOOL))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("audit_tool", loader))
    loader.exec_module(module)
    return module


CASES = {
    "a finding is open": ([FINDING], {}, 1, 0, set()),
    "a reason by its own name excuses it": ([FINDING], {"PYSEC-2026-1": "never called"}, 0, 1, set()),
    "a reason by another of its names does, too": ([FINDING], {"CVE-2026-1": "never called"}, 0, 1, set()),
    "a reason for something else does not": ([FINDING], {"CVE-2026-2": "never called"}, 1, 0, set()),
    "a sound package is silent": ([{"name": "numpy", "version": "2", "vulns": []}], {}, 0, 0, set()),
    "an unknown package is told": ([{"name": "ours", "skip_reason": "not found"}], {}, 0, 0, {"ours"}),
}


@pytest.mark.parametrize(("report", "excused", "open_", "known", "unknown"), CASES.values(), ids=CASES)
def test_what_a_report_comes_to(audit, report, excused, open_, known, unknown):
    found = audit.sort_out(report, excused)
    assert (len(found[0]), len(found[1]), found[2]) == (open_, known, unknown)


def test_every_lock_file_is_audited_and_the_shipped_ones_first(audit):
    names = [path.stem for path in audit.locks()]
    assert sorted(names) == sorted(path.stem for path in (TOOL.parent.parent / "requirements").glob("*.txt"))
    assert names[0] == "operator"
