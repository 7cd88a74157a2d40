"""What `seawall doctor` says of a cluster, by tables; the real API server is asked in tests/apiserver."""

from __future__ import annotations

import copy
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from seawall import __version__
from seawall.api import crd
from seawall.api.catalogue import classes
from seawall.cli import doctor_cluster, doctor_install
from seawall.cli.doctor import examine, report
from seawall.cli.doctor_devices import Fit, accelerators, fit
from seawall.cli.doctor_reader import Reading
from seawall.cli.doctor_types import SERVING, Finding, Situation

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
FORBIDDEN = Reading("Forbidden", message="no")
APIS = "/apis/apiregistration.k8s.io/v1/apiservices"
ROUTES = "/apis/gateway.networking.k8s.io/v1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class World:
    """A cluster of readings; what is not in it is absent."""

    def __init__(self, readings, may=lambda right: True):
        self.readings, self.may = readings, may

    def get(self, path, **query):
        found = self.readings.get(path, Reading("Absent"))
        return found if isinstance(found, Reading) else Reading("Found", found)

    def allowed(self, user, rights):
        self.asked = rights
        answer = {right: self.may(right) for right in rights}
        return FORBIDDEN if None in answer.values() else answer


def at(readings, **more):
    return Situation(World(readings, **more), NOW, address="https://cluster")


def items(*objects):
    return {"items": list(objects)}


def service(name="digits", ready="True", **spec):
    base = {"accelerator": {"class": "cpu"}, "model": {"uri": "s3://m/n.onnx"}, "slo": {"p99": "20ms"}}
    told = {"type": "Ready", "status": ready, "reason": "Serving", "message": "all is well"}
    return {
        "apiVersion": "serving.seawall.dev/v1alpha1", "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "vision"}, "spec": base | spec, "status": {"conditions": [told]},
    }  # fmt: skip


def deployment(ready=2, version=__version__, **env):
    container = {"name": "operator", "env": [{"name": k, "value": v} for k, v in env.items()]}
    container["env"].append({"name": "SEAWALL_NAMESPACE", "valueFrom": {}})
    return {
        "metadata": {
            "name": "seawall", "namespace": "seawall-system", "labels": {"app.kubernetes.io/version": version},
        },
        "spec": {"replicas": 2, "template": {"spec": {"containers": [container], "serviceAccountName": "seawall"}}},
        "status": {"readyReplicas": ready},
    }  # fmt: skip


def lease(holder="seawall-0", renewed="2026-11-21T11:59:57.000000Z"):
    spec = {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15}
    return {"metadata": {"name": "seawall-operator", "namespace": "seawall-system"}, "spec": spec}


def conditioned(kind, status, message="", **spec):
    condition = {"type": kind, "status": status, "message": message}
    return {"metadata": {"name": "x"}, "spec": spec, "status": {"conditions": [condition]}}


def gateway(name, programmed="True"):
    return conditioned("Programmed", programmed) | {"metadata": {"name": name, "namespace": "infra"}}


def served(*resources):
    return {"resources": [{"name": name} for name in resources]}


def deployments(*found):
    return {"/apis/apps/v1/deployments": items(*found)}


def leases(*found):
    return {"/apis/coordination.k8s.io/v1/leases": items(*found)}


def services(*found):
    return {f"{SERVING}/inferenceservices": items(*found)}


def registered(service, namespace="seawall-system", available="True", message=""):
    made = conditioned("Available", available, message, service={"name": service, "namespace": namespace})
    return {
        f"{APIS}/v1beta2.custom.metrics.k8s.io": made
        | {"metadata": {"name": "v1beta2.custom.metrics.k8s.io"}}
    }


def established(definition, status="True", message=""):
    told = {"type": "Established", "status": status, "message": message}
    return copy.deepcopy(definition) | {"status": {"conditions": [told]}}


DEFINITIONS = crd.definitions()
KEDA_THERE = {
    "/apis/keda.sh/v1alpha1": served("scaledobjects"),
    f"{APIS}/v1beta1.external.metrics.k8s.io": conditioned("Available", "True"),
}
GATEWAYS = {ROUTES: served("gateways", "httproutes", "grpcroutes")}
PROMETHEUS = {"SEAWALL_PROMETHEUS_URL": "http://prometheus.monitoring.svc:9090"}
PROXY = "/api/v1/namespaces/monitoring/services/http:prometheus:9090/proxy/api/v1/query"
OURS = {"SEAWALL_METRICS_API_SERVICE": "seawall-metrics-api"}
WANTS = {"routing": {"gateways": [{"name": "public", "namespace": "infra"}]}}
C, D, INSTALL = doctor_cluster, accelerators, doctor_install

SAID = {
    "a new cluster": (INSTALL.api_server, {"/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.2"}},
                      [("ok", "Kubernetes v1.36.2 at https://cluster")]),
    "an old one": (INSTALL.api_server, {"/version": {"major": "1", "minor": "30+"}}, [("fail", "1.30 at .* is too old")]),
    "no operator": (INSTALL.operator, {}, [("fail", "no Deployment of the operator in any namespace")]),
    "an operator that leads": (INSTALL.operator, deployments(deployment()) | leases(lease()),
                               [("ok", "2 of 2 replicas ready"), ("ok", "seawall-0 holds .* renewed 3 s ago")]),
    "an operator without pods": (INSTALL.operator, deployments(deployment(0)) | leases(lease()),
                                 [("fail", "0 of 2"), ("ok", "holds")]),
    "an operator with a pod missing": (INSTALL.operator, deployments(deployment(1)) | leases(lease()),
                                       [("warn", "1 of 2"), ("ok", "holds")]),
    "an operator of another release": (INSTALL.operator, deployments(deployment(version="9.9")) | leases(lease()),
                                       [("warn", "release 9.9; this program is"), ("ok", "holds")]),
    "two installations": (INSTALL.operator, deployments(deployment(), deployment()) | leases(lease()),
                          [("ok", "2 of 2"), ("ok", "2 of 2"), ("warn", "2 installations"), ("ok", "holds")]),
    "nobody has ever led": (INSTALL.operator, deployments(deployment()), [("ok", ""), ("fail", "no replica has ever led")]),
    "nobody leads": (INSTALL.operator, deployments(deployment()) | leases(lease(holder="")),
                     [("ok", ""), ("fail", "nobody holds the Lease seawall-system/seawall-operator")]),
    "a leader that has gone": (INSTALL.operator, deployments(deployment()) | leases(lease(renewed="2026-11-21T11:58:00Z")),
                               [("ok", ""), ("fail", "renewed 120 s ago")]),
    "hidden Deployments": (INSTALL.operator, {"/apis/apps/v1/deployments": FORBIDDEN},
                           [("unknown", "may not look at Deployments: no")]),
    "no metrics API": (C.metrics_api, {}, [("none", "mode HPA is not possible$")]),
    "no metrics API and a service that wants it": (
        C.metrics_api, services(service(scaling={"mode": "HPA"})), [("fail", "and vision/digits ask for it")]),
    "a metrics API of ours": (C.metrics_api, deployments(deployment(**OURS)) | registered("seawall-metrics-api"),
                              [("ok", "answered by Seawall")]),
    "one that does not answer": (
        C.metrics_api, deployments(deployment(**OURS)) | registered("seawall-metrics-api", available="False", message="no"),
        [("fail", "not available: no")]),
    "one of somebody else's": (C.metrics_api, registered("adapter", "monitoring"),
                               [("none", "belongs to Service monitoring/adapter, not to Seawall")]),
    "one of another Seawall": (
        C.metrics_api, deployments(deployment(**OURS)) | registered("seawall-metrics-api", "other"),
        [("none", "belongs to Service other/seawall-metrics-api")]),
    "no KEDA": (C.keda, {}, [("none", "is not installed")]),
    "no KEDA and a service that wants it": (C.keda, services(service(scaling={"mode": "KEDA"})), [("fail", "ask for it")]),
    "KEDA": (C.keda, deployments(deployment(**PROMETHEUS)) | KEDA_THERE, [("ok", "ScaledObjects")]),
    "KEDA without its metrics server": (C.keda, {"/apis/keda.sh/v1alpha1": served("scaledobjects")},
                                        [("fail", "v1beta1.external.metrics.k8s.io is missing")]),
    "KEDA whose metrics server is down": (
        C.keda, KEDA_THERE | {f"{APIS}/v1beta1.external.metrics.k8s.io": conditioned("Available", "False", "down")},
        [("fail", "is not available: down")]),
    "KEDA without a Prometheus": (C.keda, deployments(deployment()) | KEDA_THERE, [("none", "knows no Prometheus")]),
    "hidden KEDA": (C.keda, {"/apis/keda.sh/v1alpha1": FORBIDDEN}, [("unknown", "may not look")]),
    "no Prometheus at all": (C.prometheus, deployments(deployment()),
                             [("none", "no PodMonitors"), ("none", "reads the pods itself")]),
    "a Prometheus that answers": (
        C.prometheus,
        deployments(deployment(**PROMETHEUS)) | {PROXY: {"status": "success"}}
        | {"/apis/monitoring.coreos.com/v1": served("podmonitors", "prometheusrules")},
        [("ok", "gets its own"), ("ok", "http://prometheus.monitoring.svc:9090 answers")]),
    "one that does not": (
        C.prometheus, deployments(deployment(**PROMETHEUS)) | {PROXY: Reading("Failed", message="HTTP 503: no endpoints")},
        [("none", ""), ("fail", "does not answer: HTTP 503: no endpoints")]),
    "something else at its address": (
        C.prometheus, deployments(deployment(**PROMETHEUS)) | {PROXY: {"kind": "Hello"}}, [("none", ""), ("fail", "not as a P")]),
    "one outside the cluster": (C.prometheus, deployments(deployment(SEAWALL_PROMETHEUS_URL="https://p.example.com/x/y")),
                                [("none", ""), ("unknown", "is outside the cluster")]),
    "no Gateway API": (C.gateways, {}, [("none", "no canaries by weight$")]),
    "no Gateway API and a service that wants it": (C.gateways, services(service(**WANTS)), [("fail", "ask for it")]),
    "a gateway": (C.gateways, GATEWAYS | services(service(**WANTS)) | {f"{ROUTES}/gateways": items(gateway("public"))},
                  [("ok", "of unknown release"), ("ok", "programmed: infra/public")]),
    "a gateway that is not programmed": (
        C.gateways, GATEWAYS | services(service(**WANTS)) | {f"{ROUTES}/gateways": items(gateway("public", "False"))},
        [("ok", ""), ("fail", "Gateway infra/public is not Programmed, and vision/digits want it")]),
    "a gateway that is not there": (
        C.gateways, GATEWAYS | services(service(**WANTS)) | {f"{ROUTES}/gateways": items(gateway("other"))},
        [("ok", ""), ("fail", "which is not there"), ("ok", "programmed: infra/other")]),
    "no gateway, and nobody wants one": (C.gateways, GATEWAYS | {f"{ROUTES}/gateways": items()},
                                         [("ok", ""), ("none", "no service wants one")]),
    "no GRPCRoutes": (C.gateways, {ROUTES: served("gateways", "httproutes"), f"{ROUTES}/gateways": items(gateway("a"))},
                      [("ok", ""), ("warn", "GRPCRoutes"), ("ok", "")]),
    "a default StorageClass": (
        C.storage,
        {"/apis/storage.k8s.io/v1/storageclasses": items(
            {"metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}})},
        [("ok", "fast")]),
    "no default StorageClass": (C.storage, {"/apis/storage.k8s.io/v1/storageclasses": items({"metadata": {"name": "a"}})},
                                [("none", "no default")]),
    "a store": (C.artifacts, deployments(deployment(SEAWALL_ARTIFACTS_URI="s3://a/b")), [("ok", "s3://a/b")]),
    "no store": (C.artifacts, deployments(deployment()) | services(service()), [("none", "no store is set")]),
    "no store and a model to build": (
        C.artifacts, deployments(deployment()) | services(service(model={"uri": "s3://m/n.pt2"})),
        [("fail", "and vision/digits ask for it")]),
    "no service": (C.services, services(), [("none", "there is no InferenceService")]),
    "all services ready": (C.services, services(service()), [("ok", "1 of 1")]),
    "one that is not": (C.services, services(service(), service("slow", "False")),
                        [("warn", "1 of 2"), ("warn", "vision/slow: Serving: all is well")]),
    "a class that is not there": (
        D, {f"{SERVING}/acceleratorclasses": items(), "/api/v1/nodes": items()} | services(service()),
        [("fail", "vision/digits want the AcceleratorClass cpu: there is none")]),
    "hidden nodes": (D, {f"{SERVING}/acceleratorclasses": items(), "/api/v1/nodes": FORBIDDEN}, [("unknown", "nodes")]),
}  # fmt: skip


@pytest.mark.parametrize("case", SAID)
def test_what_is_said(case):
    check, readings, expected = SAID[case]
    found = list(check(at(readings)))
    assert [f.level for f in found] == [level for level, _ in expected], found
    for finding, (_, words) in zip(found, expected, strict=True):
        assert re.search(words, finding.message), finding.message
        assert bool(finding.advice) == (finding.level in ("warn", "fail")), finding


def without(*path):
    """The first definition with something taken out of its schema."""
    changed = established(DEFINITIONS[0])
    inner = changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    for step in path[:-1]:
        inner = inner[step]["properties"]
    del inner[path[-1]]
    return changed


def with_more():
    changed = established(DEFINITIONS[0])
    changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"][
        "new"
    ] = {}
    return changed


def with_other_words():
    changed = established(DEFINITIONS[0])
    changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "Something."
    return changed


def of_another_version():
    changed = established(DEFINITIONS[0])
    changed["spec"]["versions"][0]["name"] = "v1"
    return changed


@pytest.mark.parametrize(
    ("live", "level", "words"),
    [
        pytest.param(established(DEFINITIONS[0]), "ok", "is the one of Seawall", id="the same"),
        pytest.param(without("spec", "slo"), "fail", "older .* without spec.slo, spec.slo.", id="older"),
        pytest.param(with_more(), "warn", "newer than this program: it has spec.new", id="newer"),
        pytest.param(with_other_words(), "warn", "other rules or texts", id="other words"),
        pytest.param(of_another_version(), "fail", "does not serve v1alpha1", id="another version"),
        pytest.param(
            established(DEFINITIONS[0], "False", "taken"), "fail", "is not served: taken", id="not served"
        ),
        pytest.param(Reading("Absent"), "fail", "is not installed", id="absent"),
        pytest.param(FORBIDDEN, "unknown", "may not look", id="hidden"),
    ],
)
def test_a_definition(live, level, words):
    name = DEFINITIONS[0]["metadata"]["name"]
    finding = next(iter(doctor_install.definitions(at({f"{CRDS}/{name}": live}))))
    assert finding.level == level
    assert re.search(words, finding.message), finding.message


def node(name, labels=None, taints=(), cordoned=False, **allocatable):
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": list(taints), **({"unschedulable": True} if cordoned else {})},
        "status": {"allocatable": allocatable},
    }


L4 = next(c for c in classes() if c["metadata"]["name"] == "nvidia-l4")
CPU = next(c for c in classes() if c["metadata"]["name"] == "cpu")
LABELS = {"nvidia.com/gpu.product": "NVIDIA-L4"}
GPUS = {"nvidia.com/gpu": "2"}
BORNE = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
TEAM = {"key": "team", "value": "a", "effect": "NoSchedule"}
FITS = {
    "two of its devices": (L4, [node("a", LABELS, [BORNE], **GPUS)], Fit(("a",), 2, (), (), ())),
    "no such label": (L4, [node("a", {}, **GPUS)], Fit((), 0, (), (), ())),
    "the label without the devices": (L4, [node("a", LABELS)], Fit(("a",), 0, ("a",), (), ())),
    "a taint that is not borne": (
        L4, [node("a", LABELS, [TEAM], **GPUS)], Fit(("a",), 0, (), (("a", "team:NoSchedule"),), ())),
    "a taint that only warns": (
        L4, [node("a", LABELS, [TEAM | {"effect": "PreferNoSchedule"}], **GPUS)], Fit(("a",), 2, (), (), ())),
    "a cordoned node": (L4, [node("a", LABELS, cordoned=True, **GPUS)], Fit(("a",), 0, (), (), ("a",))),
    "any node has CPU": (CPU, [node("a"), node("b", LABELS)], Fit(("a", "b"), 2, (), (), ())),
}  # fmt: skip


@pytest.mark.parametrize("case", FITS)
def test_the_nodes_of_a_class(case):
    entry, nodes, expected = FITS[case]
    assert fit(entry["spec"], nodes) == expected


BEARS = {
    "any value": ({"key": "team", "operator": "Exists"}, True),
    "this value": ({"key": "team", "value": "a"}, True),
    "another value": ({"key": "team", "operator": "Equal", "value": "b"}, False),
    "every taint": ({"operator": "Exists"}, True),
    "another effect": ({"key": "team", "operator": "Exists", "effect": "NoExecute"}, False),
    "another key": ({"key": "pool", "operator": "Exists"}, False),
}


@pytest.mark.parametrize("case", BEARS)
def test_tolerations_as_the_scheduler_reads_them(case):
    toleration, bears = BEARS[case]
    spec = L4["spec"] | {"tolerations": [toleration]}
    assert bool(fit(spec, [node("a", LABELS, [TEAM], **GPUS)]).devices) is bears


DEVICES = {
    "devices": ([node("a", LABELS, [BORNE], **GPUS)], "ok", "nvidia-l4: 2 nvidia.com/gpu on 1 nodes"),
    "no node": ([], "fail", "no node has nvidia.com/gpu.product=NVIDIA-L4; vision/digits want it"),
    "no driver": ([node("a", LABELS)], "fail", "a have the labels and no allocatable nvidia.com/gpu"),
    "a taint": ([node("a", LABELS, [TEAM], **GPUS)], "fail", "its tolerations do not cover team:NoSchedule"),
    "cordoned": ([node("a", LABELS, cordoned=True, **GPUS)], "fail", "all of its nodes are cordoned: a"),
}


@pytest.mark.parametrize("case", DEVICES)
def test_a_class_that_a_service_wants(case):
    nodes, level, words = DEVICES[case]
    readings = {f"{SERVING}/acceleratorclasses": items(L4), "/api/v1/nodes": items(*nodes)}
    [finding] = accelerators(at(readings | services(service(accelerator={"class": "nvidia-l4"}))))
    assert (finding.level, bool(finding.advice)) == (level, level == "fail")
    assert words in finding.message


def test_classes_that_nobody_wants_are_one_line_and_devices_that_no_class_wants_are_told():
    nodes = [node("a", {"nvidia.com/gpu.product": "NVIDIA-B200"}, **{"nvidia.com/gpu": "8"})]
    readings = {f"{SERVING}/acceleratorclasses": items(*classes()), "/api/v1/nodes": items(*nodes)}
    found = list(accelerators(at(readings | services())))
    assert [f.level for f in found] == ["ok", "none", "warn"]
    assert (
        "node a has 8 nvidia.com/gpu (nvidia.com/gpu.product=NVIDIA-B200) that no class selects"
        in found[2].message
    )


def test_a_class_without_runtime():
    tpu = next(c for c in classes() if c["metadata"]["name"] == "tpu-v5e")
    nodes = [node("t", tpu["spec"]["nodeSelector"], **{"google.com/tpu": "4"})]
    readings = {f"{SERVING}/acceleratorclasses": items(tpu), "/api/v1/nodes": items(*nodes)}
    [finding] = accelerators(at(readings | services()))
    assert (finding.level, "it names no runtime" in finding.message) == ("warn", True)


def granted(rules):
    text = (ROOT / "charts/seawall/templates/_rules.tpl").read_text()
    body = text.split(f'define "{rules}"')[1].split("{{- end")[0].split("\n", 1)[1]
    return {
        (group, resource, verb)
        for rule in yaml.safe_load(body)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_rights_are_those_of_the_chart():
    asked = {(g, r, v) for g, resources, verbs in doctor_install.RIGHTS for r in resources for v in verbs}
    assert asked == granted("seawall.serviceRules")
    assert set(doctor_install.CLASS_RIGHTS) == granted("seawall.classRules")


def test_rights_that_are_missing():
    found = list(doctor_install.rights(at(deployments(deployment()), may=lambda r: r.resource != "jobs")))
    [finding] = found
    assert finding.level == "fail"
    assert "seawall-system/seawall may not: create jobs.batch, delete jobs.batch" in finding.message


def test_rights_in_the_namespaces_that_are_watched():
    situation = at(
        deployments(deployment(SEAWALL_WATCH_NAMESPACES='["a", "b"]')), may=lambda r: r.namespace != "b"
    )
    [finding] = doctor_install.rights(situation)
    assert finding.level == "fail"
    assert "in b" in finding.message
    namespaced = {r.namespace for r in situation.reader.asked if r.resource != "acceleratorclasses"}
    assert namespaced == {"a", "b"}


def test_rights_that_nobody_may_ask_about():
    [finding] = doctor_install.rights(at(deployments(deployment()), may=lambda right: None))
    assert (finding.level, finding.message) == (
        "unknown",
        "this account may not look at what the operator may do: no",
    )


def test_every_check_survives_being_forbidden_everything():
    class Closed(World):
        def get(self, path, **query):
            return FORBIDDEN

    found = examine(Situation(Closed({}, may=lambda right: None), NOW))
    assert {f.level for f in found} == {"unknown"}
    assert len({f.topic for f in found}) >= 9


def test_the_report_is_aligned_and_counts():
    found = [
        Finding("ok", "a", "well"),
        Finding("fail", "longer", "bad", "do this"),
        Finding("fail", "a", "worse"),
    ]
    lines = report(found, lambda text, code: text).splitlines()
    assert lines[:3] == ["ok       a       well", "fail     longer  bad", "                 -> do this"]
    assert lines[-1] == "1 ok, 2 fail"
