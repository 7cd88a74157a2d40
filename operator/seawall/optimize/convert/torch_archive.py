"""PyTorch's exported programs (`.pt2`) vetted and rewritten, so that loading one cannot run anything.

torch.export.load says of itself that it is not safe, and it is not: it unpickles weights, constants and
sample inputs that ask for it, loads compiled libraries, evaluates expressions as Python and resolves any name
below `torch` as a function to call. A program needs none of that to be exported to ONNX. So what is not on
the lists here is refused, the rest is copied into a fresh archive, and PyTorch sees only that one.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seawall.optimize.types import Refused

HOW = (
    "save an exported program instead, where the model's code is:"
    " torch.export.save(torch.export.export(model, example_inputs), 'model.pt2')"
)
MAX_JSON = 512 * 2**20
MAX_EXPRESSION = 1000
MODEL, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"
CONSTANTS, SAMPLES = "data/constants/model_constants_config.json", "data/sample_inputs/model.pt"
_PLAIN = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+"
)
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims)\.\w+(\.\w+)?"
    r"|torch\.sym_(int|float|not|min|max|ite|sqrt)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|ge|gt|le|lt|eq|ne|and_|or_|not_|getitem)"
    r"|math\.(ceil|floor|trunc)"
)
_SYMBOL = re.compile(r"[su]\d+|zuf\d+|zf\d+")
_QUOTED = re.compile(r"([su]\d+|zuf\d+|zf\d+)|-?\d+(\.\d*)?(e[+-]?\d+)?")
"""in Symbol('s77') and Float('0.5')"""
_FUNCTIONS = {
    "FloorDiv", "ModularIndexing", "Where", "PythonMod", "Mod", "CleanDiv", "CeilToInt", "FloorToInt",
    "CeilDiv", "LShift", "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv", "IntTrueDiv", "ToFloat",
    "TruncToInt", "RoundToInt", "RoundDecimal", "Max", "Min", "Eq", "Ne", "Ge", "Gt", "Le", "Lt", "And", "Or",
    "Not", "Integer", "Symbol", "Float", "Rational", "Add", "Mul", "Pow", "Abs", "oo", "int_oo", "True",
    "False",
}  # fmt: skip
_ARITHMETIC = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.operator, ast.unaryop, ast.boolop,
    ast.cmpop, ast.expr_context,
)  # fmt: skip
_NAME = re.compile(r"[\w.+\-:@]{0,300}")
_TEXT = re.compile(r"[\w\s.,+\-:>]{0,300}")
"""values of string arguments, such as the equation of an einsum"""
_MALFORMED = (
    zipfile.BadZipFile, ValueError, RecursionError, EOFError, KeyError, TypeError, IndexError, AttributeError,
    NotImplementedError,
)  # fmt: skip
_TREES = {"builtins.tuple", "builtins.list", "builtins.dict", None}


def vetted(path: Path, fresh: Path) -> Path:
    """A program of the same meaning in a new file. Raises Refused: UnsafeModel, or InvalidModel."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path.stat().st_size)
            with zipfile.ZipFile(fresh, "w", zipfile.ZIP_STORED) as copy:
                for name, entry in members.items():
                    _copied(archive, entry, name, copy)
    except _MALFORMED as error:
        raise Refused("InvalidModel", f"{path.name} is no exported program of PyTorch: {error}") from error
    return fresh


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """By their path below the archive's one root folder."""
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    names = [entry.filename for entry in entries]
    if any(name.endswith(("data.pkl", "constants.pkl")) for name in names):
        raise unsafe("it is a pickle (torch.save or TorchScript), which runs code when it is read")
    root = names[0].partition("/")[0] if names else ""
    members = {name.removeprefix(f"{root}/"): entry for name, entry in zip(names, entries, strict=True)}
    if MODEL not in members or WEIGHTS not in members or any(not n.startswith(f"{root}/") for n in names):
        raise Refused(
            "InvalidModel",
            f"the archive holds no program as torch.export.save of PyTorch 2.8 or newer writes it; {HOW}",
        )
    if len(members) != len(entries):
        raise Refused("InvalidModel", "the archive holds two files of the same name")
    if sum(entry.file_size for entry in entries) > size or any(entry.compress_type for entry in entries):
        raise Refused(
            "InvalidModel", "the archive is packed or overlaps itself, which PyTorch's own never do"
        )
    for name in members:
        if name not in (MODEL, WEIGHTS, CONSTANTS, SAMPLES) and not _PLAIN.fullmatch(name):
            raise unsafe(f"the archive holds {name!r}, which is neither program nor plain weights")
    return members


def _json(content: bytes, name: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Refused("InvalidModel", f"{name} is no JSON: {error}") from error


def _copied(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, copy: zipfile.ZipFile) -> None:
    if name in (MODEL, WEIGHTS, CONSTANTS):
        if entry.file_size > MAX_JSON:
            raise Refused("InvalidModel", f"{name} has {entry.file_size} bytes; {MAX_JSON} are the most")
        raw = _json(archive.read(entry), name)
        content = _program(raw) if name == MODEL else _payload(raw)
        copy.writestr(f"model/{name}", json.dumps(content))
        return
    with archive.open(entry) as source, copy.open(f"model/{name}", "w", force_zip64=True) as goal:
        shutil.copyfileobj(source, goal, 1 << 20)


def unsafe(why: str) -> Refused:
    return Refused("UnsafeModel", f"this PyTorch file is not opened: {why}; {HOW}")


def _payload(raw: dict[str, Any]) -> dict[str, Any]:
    """Where each weight lies and how it is laid out."""
    for name, meta in raw["config"].items():
        if meta.get("use_pickle") is not False or not re.fullmatch(r"(weight|tensor)_\d+", meta["path_name"]):
            raise unsafe(f"the weight {name[:80]!r} is kept as a pickle, which runs code when it is read")
    _check(raw, "")
    return raw


def _program(raw: dict[str, Any]) -> dict[str, Any]:
    """The program without what only debuggers read, and with nothing that PyTorch would evaluate or call."""
    raw["guards_code"] = []
    module = raw["graph_module"]
    module["metadata"] = {}
    module["module_call_graph"] = [call for call in module["module_call_graph"] if call["fqn"] == ""]
    for node in module["graph"]["nodes"]:
        node["metadata"] = {}
    for bound in raw["range_constraints"]:
        _require_expression(bound)
    _check(raw, "")
    return raw


def _check(value: Any, key: str) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            if not _NAME.fullmatch(name):
                raise unsafe(f"the program holds the name {name[:80]!r}")
            _check(item, name)
    elif isinstance(value, list):
        for item in value:
            _check(item, key)
    elif isinstance(value, str):
        _check_text(value, key)


def _check_text(value: str, key: str) -> None:
    if key == "target":
        if not _TARGET.fullmatch(value):
            raise unsafe(f"it calls {value[:80]!r}, which is no operator of PyTorch's core")
    elif key == "expr_str":
        _require_expression(value)
    elif key in ("in_spec", "out_spec"):
        for kind in _trees(json.loads(value)[1]):
            if kind not in _TREES:
                raise unsafe(f"its inputs or outputs are of the class {str(kind)[:80]!r}")
    elif key in ("as_operator", "as_custom_obj", "as_graph"):
        raise unsafe(f"it carries an argument of the kind {key[3:]}")
    elif not (_TEXT if key in ("as_string", "as_strings") else _NAME).fullmatch(value):
        raise unsafe(f"it holds the text {value[:80]!r} where PyTorch writes a name")


def _require_expression(text: str) -> None:
    """PyTorch evaluates these as Python: arithmetic over sizes, no attributes, no strings but symbols."""
    try:
        tree = ast.parse(text.strip(), mode="eval") if len(text) <= MAX_EXPRESSION else None
    except (SyntaxError, RecursionError, MemoryError):
        tree = None
    if tree is None or not all(map(_is_arithmetic, ast.walk(tree))):
        raise unsafe(f"it holds the expression {text[:80]!r}, which is more than arithmetic over sizes")


def _is_arithmetic(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name):
            return name in _FUNCTIONS or _SYMBOL.fullmatch(name) is not None
        case ast.Constant(value=str(value)):
            return _QUOTED.fullmatch(value) is not None
        case ast.Constant(value=value):
            return isinstance(value, (bool, int, float))
        case ast.Call(func=ast.Name()):
            return True
        case ast.keyword(arg=name):
            return name is not None
    return isinstance(node, _ARITHMETIC)


def _trees(spec: Any) -> Iterator[Any]:
    yield spec["type"]
    if "__enum__" in str(spec.get("context")):
        yield "enum"
    for child in spec["children_spec"]:
        yield from _trees(child)
