"""Every rule of the schemas, put to the offline validator and to a real API server: one table, equal verdicts."""

import base64
import copy
import http.client
import json
import random
import ssl
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from seawall.api import crd
from seawall.api.fields import VALIDATIONS
from seawall.api.validate import Problem, problems

LONG = {
    "LONG-URI": "s3://models/" + "a" * 2040,
    "MANY-STEPS": [{"weight": 5}] * 21,
}
PATHS = {
    "InferenceService": "/apis/serving.seawall.dev/v1alpha1/namespaces/default/inferenceservices",
    "AcceleratorClass": "/apis/serving.seawall.dev/v1alpha1/acceleratorclasses",
    "ModelBuild": "/apis/serving.seawall.dev/v1alpha1/namespaces/default/modelbuilds",
}


@cache
def table() -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parent / "cases.yaml").read_text(encoding="utf-8"))


def changed(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """A copy of the base with the fields of `drop` removed and those of `set` put in."""
    obj = copy.deepcopy(base)
    for path in change.get("drop", ()):
        node, last = reach(obj, path)
        del node[last]
    for path, value in change.get("set", {}).items():
        node, last = reach(obj, path)
        node[last] = LONG.get(value, value) if isinstance(value, str) else copy.deepcopy(value)
        if isinstance(value, dict):
            node[last] = json.loads(json.dumps(value).replace('"MANY-STEPS"', json.dumps(LONG["MANY-STEPS"])))
    return obj


def reach(obj: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    *above, last = path.split(".")
    for name in above:
        obj = obj.setdefault(name, {})
    return obj, last


def objects(case: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    base = table()["bases"][case.get("base", "service")]
    before = changed(base, case["before"]) if "before" in case else None
    return changed(base, case), before


CASES = [pytest.param(case, id=case["name"]) for case in table()["cases"]]
ACCEPTED = [case for case in table()["cases"] if "rejected" not in case]


@pytest.mark.parametrize("case", CASES)
def test_offline_verdict(case: dict[str, Any]) -> None:
    found = problems(*objects(case))
    if "rejected" not in case:
        assert found == []
        return
    assert found, "accepted"
    if "at" in case:
        assert case["at"] in {p.path for p in found}
    if is_rule(case["rejected"]):
        assert any(case["rejected"] in p.message for p in found), found


@pytest.mark.apiserver
@pytest.mark.parametrize("case", CASES)
def test_verdict_of_the_api_server(case: dict[str, Any], api: "Api") -> None:
    obj, before = objects(case)
    code, answer = api.create(obj) if before is None else api.update(before, obj)
    if "rejected" not in case:
        assert code < 300, answer
        return
    assert code in {400, 422}, "accepted" if code < 300 else answer
    assert case["rejected"] in answer["message"]
    field = case.get("at", "").split("[")[0]
    assert field in answer["message"]


def test_case_names_are_unique() -> None:
    names = [case["name"] for case in table()["cases"]]
    assert len(names) == len(set(names))


def is_rule(words: str) -> bool:
    """Whether these are words of our own rather than the API server's: then they are the same offline."""
    return " " in words and any(words in message for message in cel_messages())


@cache
def cel_messages() -> frozenset[str]:
    return frozenset(m for kind in PATHS for m in messages(crd.schema(kind)))


def messages(schema: dict[str, Any]) -> Iterator[str]:
    yield from (rule["message"] for rule in schema.get(VALIDATIONS, ()))
    for below in schema.get("properties", {}).values():
        yield from messages(below)
    for word in ("items", "additionalProperties"):
        if word in schema:
            yield from messages(schema[word])


@pytest.mark.parametrize("message", sorted(cel_messages()))
def test_every_rule_has_a_case_that_it_rejects(message: str) -> None:
    assert any(case.get("rejected", "\0") in message for case in table()["cases"])


def leaves(schema: dict[str, Any], path: str) -> Iterator[str]:
    below = schema.get("properties") or schema.get("items", {}).get("properties") or {}
    for name, inner in below.items():
        yield from leaves(inner, f"{path}.{name}")
    if not below:
        yield path


def given(value: Any, path: str) -> Iterator[str]:
    yield path
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            for name, inner in item.items():
                yield from given(inner, f"{path}.{name}")


@pytest.mark.parametrize("kind", PATHS)
def test_every_field_of_spec_is_accepted_somewhere(kind: str) -> None:
    accepted = [obj for obj, _ in map(objects, ACCEPTED) if obj["kind"] == kind]
    seen = {path for obj in accepted for path in given(obj["spec"], "spec")}
    assert set(leaves(crd.schema(kind)["properties"]["spec"], "spec")) <= seen


@pytest.mark.parametrize("case", [pytest.param(c, id=c["name"]) for c in ACCEPTED])
def test_the_models_read_what_the_rules_accept(case: dict[str, Any]) -> None:
    obj, _ = objects(case)
    obj.pop("status", None)
    if case["name"] == "a null value in a map counts as absent":
        obj["spec"]["nodeSelector"] = {}  # the API server hands it on without the null
    model = crd.MODELS[obj["kind"]]
    read = model.model_validate(obj)
    again = read.model_dump(by_alias=True, exclude_none=True, mode="json")
    assert model.model_validate(again) == read


@pytest.mark.parametrize("path", ["spec.accelerator.count", "spec.model.maxBatchSize"])
def test_a_whole_number_with_a_fraction_of_zero_is_one_as_kubectl_sends_it(path: str) -> None:
    assert problems(changed(table()["bases"]["service"], {"set": {path: 1.0}})) == []


def test_a_queue_size_with_a_fraction_of_zero_is_a_whole_number_as_kubectl_sends_it() -> None:
    batching = {"spec.batching": {"maxQueueSize": 16.0}}
    assert problems(changed(table()["bases"]["service"], {"set": batching})) == []


@pytest.mark.parametrize(
    ("what", "obj"),
    [
        ("a list", []),
        ("nothing", None),
        ("an empty object", {}),
        ("another kind", {"apiVersion": "v1", "kind": "Secret"}),
        ("another version", {"apiVersion": "serving.seawall.dev/v1", "kind": "InferenceService"}),
        ("a kind that is a list", {"apiVersion": "serving.seawall.dev/v1alpha1", "kind": "List"}),
    ],
)
def test_what_is_no_resource_of_ours_is_refused_offline(what: str, obj: Any) -> None:
    assert problems(obj), what


def test_a_problem_reads_as_one_line() -> None:
    assert str(Problem("spec.slo.p99", "is required")) == "spec.slo.p99: is required"


class Api:
    """The API server by plain HTTP: a client library would refuse or repair what is to be refused here."""

    definitions: list[dict[str, Any]]

    def __init__(self, kubeconfig: Path, scratch: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        for name, source in (("client-certificate", user), ("client-key", user)):
            path = scratch / name
            path.write_bytes(self.content(source, name))
        context = ssl.create_default_context(
            cadata=self.content(cluster, "certificate-authority").decode("ascii")
        )
        context.load_cert_chain(scratch / "client-certificate", scratch / "client-key")
        address = urlsplit(cluster["server"])
        self.connection = http.client.HTTPSConnection(
            address.hostname or "", address.port, context=context, timeout=30
        )

    @staticmethod
    def content(holder: dict[str, str], name: str) -> bytes:
        if f"{name}-data" in holder:
            return base64.b64decode(holder[f"{name}-data"])
        return Path(holder[name]).read_bytes()

    def call(self, verb: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        text = None if body is None else json.dumps(body)
        kind = "application/apply-patch+yaml" if verb == "PATCH" else "application/json"
        self.connection.request(verb, path, text, {"Content-Type": kind})
        answer = self.connection.getresponse()
        content = answer.read()
        told = "json" in answer.headers.get_content_type()
        return answer.status, json.loads(content) if told else {"message": content.decode()}

    def install(self, definition: dict[str, Any]) -> dict[str, Any]:
        """Applies a definition, waits until its resource is served, and gives back what became of it."""
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition['metadata']['name']}"
        code, answer = self.call("PATCH", f"{path}?fieldManager=tests&force=true", definition)
        assert code in {200, 201}, answer
        end = time.monotonic() + 30
        while self.call("GET", PATHS[definition["spec"]["names"]["kind"]])[0] != 200:
            assert time.monotonic() < end, f"{path} is not served after 30 s"
            time.sleep(0.05)
        return self.call("GET", path)[1]

    def create(self, obj: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return self.call("POST", f"{PATHS[obj['kind']]}?dryRun=All&fieldValidation=Strict", obj)

    def update(self, before: dict[str, Any], obj: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        path = PATHS[obj["kind"]]
        code, made = self.call("POST", path, before)
        assert code == 201, made
        one = f"{path}/{made['metadata']['name']}"
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": made["metadata"]["resourceVersion"]}}
        try:
            return self.call("PUT", f"{one}?dryRun=All&fieldValidation=Strict", obj)
        finally:
            self.call("DELETE", one)


@pytest.fixture(scope="module")
def api(apiserver: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    client = Api(Path(apiserver.kubeconfig), tmp_path_factory.mktemp("client"))
    client.definitions = [client.install(d) for d in crd.definitions()]
    yield client
    client.connection.close()


@pytest.mark.apiserver
def test_the_api_server_has_no_complaint_about_the_definitions(api: Api) -> None:
    for definition in api.definitions:
        said = {c["type"]: c["status"] for c in definition["status"]["conditions"]}
        assert said["Established"] == "True"
        assert "NonStructuralSchema" not in said
        served = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        assert served == crd.schema(definition["spec"]["names"]["kind"])


POOL: list[Any] = [
    None, True, 0, 1, -1, 7, 1.5, 2**31, 2**63, "", "a", "A", "auto", "none", "20ms", "0", "0.5", "1e9", "5%",
    "ä", "a\n", " ", "x" * 3000, [], [None], ["a", "a"], [{}], [{"weight": 5}], {}, {"a": 1}, {"a": None},
]  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) inside a value."""
    keys = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in keys:
        yield value, key
        yield from places(inner)


def mutated(seed: int) -> dict[str, Any]:
    """One of the bases with one to three places changed at random."""
    dice = random.Random(seed)  # noqa: S311
    obj = copy.deepcopy(table()["bases"][dice.choice(["full", "full", "service", "gpu", "tpu", "fullbuild"])])
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        container, key = dice.choice([*places(obj["spec"]), *places(obj["metadata"])])
        what = dice.random()
        if what < 0.15 and isinstance(container, dict):
            del container[key]
        elif what < 0.25 and isinstance(container, dict):
            container[dice.choice(["extra", "name", "class", "weight", "mode"])] = copy.deepcopy(
                dice.choice(POOL)
            )
        elif what < 0.35:
            container[key] = dice.choice(list(places(obj["spec"])))[1]
        else:
            container[key] = copy.deepcopy(dice.choice(POOL))
    return obj


@pytest.mark.apiserver
@pytest.mark.parametrize("hundred", range(10))
def test_both_verdicts_agree_on_what_chance_makes_of_good_objects(hundred: int, api: Api) -> None:
    verdicts = {True: 0, False: 0}
    for seed in range(hundred * 100, hundred * 100 + 100):
        obj = mutated(seed)
        code, answer = api.create(obj)
        assert code in {201, 400, 422}, answer
        found = problems(obj)
        assert (code == 201) == (found == []), f"seed {seed}: {answer.get('message')}; {found}"
        verdicts[code == 201] += 1
    assert all(verdicts.values())


@pytest.mark.apiserver
def test_the_scale_subresource_writes_replicas_of_mode_external(api: Api) -> None:
    path = PATHS["InferenceService"]
    obj = changed(table()["bases"]["service"], {"set": {"spec.scaling": {"mode": "External", "replicas": 1}}})
    assert api.call("POST", path, obj)[0] == 201
    try:
        _, scale = api.call("GET", f"{path}/minilm/scale")
        scale["spec"]["replicas"] = 4
        assert api.call("PUT", f"{path}/minilm/scale", scale)[0] == 200
        assert api.call("GET", f"{path}/minilm")[1]["spec"]["scaling"]["replicas"] == 4
    finally:
        api.call("DELETE", f"{path}/minilm")
