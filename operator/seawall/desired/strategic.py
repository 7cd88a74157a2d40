"""Kubernetes' strategic-merge patch for pod templates: named lists merge by name, other lists are replaced.

Understood are null (delete), `$patch: delete`, `$patch: replace` and `$patch: merge`. Directives that only
`kubectl apply` computes ($setElementOrder, $retainKeys, $deleteFromPrimitiveList) are refused.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from seawall.desired.podschema import PodTemplateError

MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
_ONE_OF = (frozenset({"value", "valueFrom"}), frozenset({"exec", "httpGet", "tcpSocket", "grpc", "sleep"}))
"""Keys of which at most one may be set: naming another one replaces the first."""
_DIRECTIVE = "$patch"
_DEEPEST = 40
"""No pod nests deeper than about twenty."""


def merge(base: Mapping[str, Any], patch: Any, path: str = "") -> dict[str, Any]:
    """`base` with `patch` merged in. Raises PodTemplateError; neither argument is changed."""
    if not isinstance(patch, Mapping):
        raise PodTemplateError(f"{path or 'it'} must be an object")
    if path.count(".") > _DEEPEST:
        raise PodTemplateError(f"{path[:60]}… is nested too deeply")
    directive = _directive(patch, path)
    if directive == "delete":
        return {}
    result = {} if directive == "replace" else dict(base)
    for key, value in patch.items():
        where = _inside(path, key)
        if key == _DIRECTIVE:
            continue
        if not isinstance(key, str) or key.startswith("$"):
            raise PodTemplateError(f"{where}: is not supported; use $patch or null")
        if value is None:
            result.pop(key, None)
            continue
        result = {k: v for k, v in result.items() if not _excluded(k, key)}
        result[key] = _merged(result.get(key), value, key, where)
    return result


def _excluded(present: str, arriving: str) -> bool:
    return present != arriving and any(present in group and arriving in group for group in _ONE_OF)


def _merged(old: Any, new: Any, key: str, where: str) -> Any:
    if isinstance(new, Mapping):
        return merge(old if isinstance(old, Mapping) else {}, new, where)
    if isinstance(new, list):
        merge_key = MERGE_KEYS.get(key)
        if merge_key is None:
            return [_resolved(item, f"{where}[{n}]") for n, item in enumerate(new)]
        return _merged_list(old if isinstance(old, list) else [], new, merge_key, key, where)
    return new


def _resolved(item: Any, where: str) -> Any:
    """An element that replaces: its own directives and nulls still count inside it."""
    return merge({}, item, where) if isinstance(item, Mapping) else copy.deepcopy(item)


def _merged_list(old: Sequence[Any], new: Sequence[Any], merge_key: str, key: str, where: str) -> list[Any]:
    result = list(old)
    if any(isinstance(item, Mapping) and item.get(_DIRECTIVE) == "replace" for item in new):
        result = []
    for position, item in enumerate(new):
        at = f"{where}[{position}]"
        if not isinstance(item, Mapping):
            raise PodTemplateError(f"{at} must be an object with {merge_key}")
        directive = _directive(item, at)
        if directive == "replace" and merge_key not in item:
            continue
        identity = item.get(merge_key)
        if identity is None or isinstance(identity, dict | list):
            raise PodTemplateError(f"{at} needs {merge_key}, which says which element is meant")
        at = f"{where}[{identity}]"
        found = next((n for n, o in enumerate(result) if _same(o, item, merge_key)), None)
        if directive == "delete":
            result = [o for n, o in enumerate(result) if n != found]
        elif found is None:
            result.append(merge({}, item, at))
        else:
            present = _volume_base(result[found], item) if key == "volumes" else result[found]
            result[found] = merge(present, item, at)
    return result


def _same(present: Mapping[str, Any], arriving: Mapping[str, Any], merge_key: str) -> bool:
    if present.get(merge_key) != arriving.get(merge_key):
        return False
    if merge_key != "containerPort":
        return True
    return bool(present.get("protocol", "TCP") == arriving.get("protocol", "TCP"))


def _volume_base(present: Mapping[str, Any], arriving: Mapping[str, Any]) -> Mapping[str, Any]:
    """A volume has one source: another one in the patch takes the place of the first."""
    sources = {k for k, v in arriving.items() if k not in ("name", _DIRECTIVE) and v is not None}
    return {k: v for k, v in present.items() if k == "name" or not sources or k in sources}


def _directive(patch: Mapping[str, Any], path: str) -> str | None:
    directive = patch.get(_DIRECTIVE)
    if directive in (None, "merge", "replace", "delete"):
        return directive
    raise PodTemplateError(f"{_inside(path, '$patch')} must be delete, replace or merge")


def _inside(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)
