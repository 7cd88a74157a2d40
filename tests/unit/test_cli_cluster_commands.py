"""`seawall status` and `seawall rollout` against a small API server on loopback, through a real kubeconfig."""

from __future__ import annotations

import contextlib
import copy
import http.server
import json
import re
import threading

import pytest
import yaml

from seawall.__main__ import parser

READY = {
    "metadata": {"name": "digits", "namespace": "vision", "generation": 3},
    "spec": {
        "model": {"uri": "https://models.example/digits.onnx"},
        "accelerator": {"class": "cpu"},
        "slo": {"p99": "20ms"},
    },
    "status": {
        "observedGeneration": 3,
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Serving", "message": "all is well"},
            {"type": "SpecAccepted", "status": "True", "reason": "Accepted"},
        ],
        "replicas": 2,
        "scaling": {
            "mode": "HPA", "desiredReplicas": 2, "reason": "Demand", "demandRps": "812",
            "capacityRps": "410", "predictedP99": "17ms", "message": "up from 1 to 2",
        },
        "slo": {"target": "20ms", "p99": "14ms", "attainment": "99.93%", "errorBudgetRemaining": "71%",
                "window": "30d", "since": "2026-10-31", "days": [{"day": "2026-10-31"}]},
        "efficiency": {"costPer1k": "0.0031", "joulesPer1k": "4.2", "estimated": True},
        "rollout": {
            "id": "3-0a1b2c3d",
            "stableRevision": "0a1b2c3d",
            "history": [{"revision": "ffffffff", "outcome": "Served"}, {"revision": "0a1b2c3d"}],
        },
        "endpoints": {"http": "http://digits.vision.svc:8000", "grpc": "digits-headless.vision.svc:8001"},
    },
}  # fmt: skip
BROKEN = {
    "metadata": {"name": "broken", "namespace": "vision", "generation": 2},
    "spec": READY["spec"],
    "status": {
        "observedGeneration": 2,
        "conditions": [
            {"type": "Ready", "status": "False", "reason": "DigestMismatch", "message": "is not 9f86"}
        ],
        "rollout": {
            "id": "2-deadbeef",
            "lastRejected": {"revision": "deadbeef", "reason": "DigestMismatch", "message": "is not 9f86"},
        },
    },
}
FRESH = {"metadata": {"name": "fresh", "namespace": "vision", "generation": 1}, "spec": READY["spec"]}
BEHIND = {**READY, "metadata": {"name": "behind", "namespace": "vision", "generation": 4}}
COMPRESSED = {
    **READY,
    "metadata": {"name": "small", "namespace": "compressed", "generation": 3},
    "status": {
        **READY["status"],
        "rollout": {"stableRevision": "0a1b2c3d", "build": "digits-int4-bbbb"},
        "model": {
            "preset": "int8", "format": "onnx", "buildRef": "digits-int8-aaaa", "originalBytes": 4000,
            "compressedBytes": 1000, "compressionRatio": "4", "unproven": True,
            "accuracy": {"metric": "cosine", "value": "0.999", "low": "0.998"},
        },
    },
}  # fmt: skip
BUILDING = {
    "metadata": {"name": "digits-int4-bbbb", "namespace": "compressed"},
    "status": {
        "phase": "Running",
        "progress": {"stage": "compress", "percent": 40},
        "conditions": [{"type": "Complete", "reason": "Building", "message": "Phase compress is at work"}],
    },
}
CANARY = {
    **READY,
    "metadata": {"name": "canary", "namespace": "rolling", "generation": 3},
    "status": {
        **READY["status"],
        "rollout": {
            "id": "4-1f2e3d4c", "phase": "Stepping", "step": 1, "steps": 3, "stableRevision": "0a1b2c3d",
            "candidateRevision": "1f2e3d4c", "desiredWeight": 20, "observedWeight": 20, "candidateReplicas": 1,
            "frozenReplicas": 4, "stepStartedAt": "2026-11-01T12:00:00Z",
            "hold": {"reason": "StableNotReady", "message": "3 of 4 pods", "since": "2026-11-01T12:01:00Z"},
            "lastRejected": {"revision": "deadbeef", "reason": "Regression", "message": "late"},
            "analysis": {
                "windowEnd": 1793534400, "share": "19.8%",
                "metrics": [
                    {"metric": "latency", "logERollback": "-0.31", "logEPass": "2.10", "ratio": "1.04",
                     "candidateRequests": 812, "stableRequests": 3240},
                    {"metric": "errors", "logERollback": "0.00", "candidateRequests": 812},
                ],
            },
            "history": [
                {"revision": "ffffffff", "outcome": "Aborted", "finishedAt": "2026-10-31T09:00:00Z"},
                {"revision": "0a1b2c3d", "outcome": "Promoted"},
            ],
        },
    },
}  # fmt: skip


def rolling(**changes):
    """The canary with its rollout changed; None takes a field away."""
    service = copy.deepcopy(CANARY)
    rollout = service["status"]["rollout"]
    rollout.update(changes)
    service["status"]["rollout"] = {k: v for k, v in rollout.items() if v is not None}
    return service


PAUSED = {"reason": "StepPassed", "message": "sound", "since": "2026-11-01T12:02:00Z"}
WATCHED = {
    "phase": "Watching", "step": None, "stableRevision": "1f2e3d4c", "candidateRevision": None,
    "previousRevision": "0a1b2c3d", "hold": None,
}  # fmt: skip
SERVICES = {s["metadata"]["name"]: s for s in (READY, BROKEN, FRESH, BEHIND)}
UNSEEN = "the operator has not looked at {} yet"
BASE = "/apis/serving.seawall.dev/v1alpha1"


class Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path, _, query = self.path.partition("?")
        name = path.removeprefix(f"{BASE}/namespaces/vision/inferenceservices").lstrip("/")
        if path in (f"{BASE}/namespaces/vision/inferenceservices", f"{BASE}/inferenceservices"):
            services = sorted(SERVICES.values(), key=lambda s: s["metadata"]["name"])
            first = "continue=" not in query  # two pages
            return self._send(
                200,
                {
                    "metadata": {"continue": "more"} if first else {},
                    "items": services[:2] if first else services[2:],
                },
            )
        if path == f"{BASE}/namespaces/compressed/inferenceservices/small":
            return self._send(200, COMPRESSED)
        if path == f"{BASE}/namespaces/rolling/inferenceservices/canary":
            shown = self.server.shown
            return self._send(200, shown.pop(0) if len(shown) > 1 else shown[0])
        if path == f"{BASE}/namespaces/compressed/modelbuilds/digits-int4-bbbb":
            return self._send(200, BUILDING)
        if path == f"{BASE}/acceleratorclasses":
            cost = {"perHour": "0.71", "currency": "USD"}
            classes = [
                {"metadata": {"name": "cpu"}, "spec": {"cost": cost}},
                {"metadata": {"name": "b"}, "spec": {}},
            ]
            return self._send(200, {"metadata": {}, "items": classes})
        if name in SERVICES:
            return self._send(200, SERVICES[name])
        if "forbidden" in path:
            return self._send(403, {"kind": "Status", "message": "user may not read that"})
        return self._send(404, {"kind": "Status", "message": "not found"})

    def do_PATCH(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.patches.append((self.path, self.headers["Content-Type"], body))
        self._send(200, READY)

    def _send(self, code, body):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args):
        pass


@pytest.fixture
def api(tmp_path, monkeypatch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        server.patches, server.shown = [], [CANARY]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        kubeconfig = tmp_path / "kubeconfig"
        address = f"http://127.0.0.1:{server.server_address[1]}"
        context = {"cluster": "c", "user": "u", "namespace": "vision"}
        kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "c",
                    "clusters": [{"name": "c", "cluster": {"server": address}}],
                    "users": [{"name": "u", "user": {}}],
                    "contexts": [{"name": "c", "context": context}],
                }
            )
        )
        _use(monkeypatch, str(kubeconfig))
        yield server
        server.shutdown()
        thread.join()


def _use(monkeypatch, kubeconfig):
    monkeypatch.setenv("KUBECONFIG", kubeconfig)


def seawall(capsys, *words):
    args = parser([words[0]]).parse_args(words)
    code = args.func(args)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_table_of_a_namespace(api, capsys):
    code, out, err = seawall(capsys, "status")
    assert (code, err) == (1, "")
    lines = [line.split() for line in out.splitlines()]
    assert " ".join(lines[0]) == "NAME MODEL ACCEL SLO P99 ATTAINED REPLICAS REVISION READY REASON WHY"
    uri = "https://models.example/digits.onnx"
    figures = ["cpu", "20ms", "14ms", "99.93%", "2/2", "0a1b2c3d", "True"]
    assert lines[1:-2] == [
        ["broken", uri, "cpu", "20ms", "-", "-", "-", "-", "False", "DigestMismatch", "is", "not", "9f86"],
        ["behind", uri, *figures, "SpecNotSeenYet", *UNSEEN.format("its latest spec").split()],
        [
            "fresh",
            uri,
            "cpu",
            "20ms",
            "-",
            "-",
            "-",
            "-",
            "Unknown",
            "NotSeenYet",
            *UNSEEN.format("it").split(),
        ],
        ["digits", uri, *figures, "Serving"],
    ]
    assert out.endswith("\n\nservices 4, ready 1, SLO met 0 of 0 measured, rollouts 0, cost 2.84 USD/h\n")


def test_all_namespaces_as_json(api, capsys):
    code, out, _ = seawall(capsys, "status", "-A", "--json")
    assert code == 1
    assert [s["name"] for s in json.loads(out)] == ["broken", "behind", "fresh", "digits"]


def test_one_ready_service_in_full(api, capsys):
    code, out, _ = seawall(capsys, "status", "digits")
    assert code == 0
    for words in (
        "SpecAccepted  True",
        "0a1b2c3d  serving",
        "ffffffff  served",
        "digits-headless.vision.svc:8001",
    ):
        assert words in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for words in (
        "OBJECTIVE 99.93% within 20ms since 2026-10-31; 71% of the error budget is left (window 30d)",
        "SCALING HPA, Demand",
        "WHY up from 1 to 2",
        "LOAD 812 requests/s expected, one replica carries 410; predicted p99 17ms",
        "COST 0.0031 per 1000 requests",
        "ENERGY 4.2 J per 1000 requests, estimated from the class's watts",
    ):
        assert words in lines
    assert out.count("0a1b2c3d  ") == 2  # in the table and among the revisions, not again in the history


def test_one_compressed_service_with_what_serves_and_what_is_being_built(api, capsys):
    code, out, _ = seawall(capsys, "status", "small", "-n", "compressed")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for words in (
        "PRESET int8",
        "SIZE 4000 -> 1000 bytes, 4 times smaller",
        "ACCURACY cosine 0.999 (at least 0.998), unproven",
        "digits-int4-bbbb Running compress 40 % Building Phase compress is at work",
        "digits-int8-aaaa Gone -",
    ):
        assert words in lines
    code, out, _ = seawall(capsys, "status", "small", "-n", "compressed", "--json")
    assert [b["phase"] for b in json.loads(out)["builds"]] == ["Running", "Gone"]


def test_one_service_that_is_not_ready(api, capsys):
    code, out, _ = seawall(capsys, "status", "broken", "--json")
    assert code == 1
    assert json.loads(out)["reason"] == "DigestMismatch"
    code, out, _ = seawall(capsys, "status", "broken")
    assert code == 1
    assert "deadbeef  rejected  DigestMismatch: is not 9f86" in out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        pytest.param(["status", "nobody"], "InferenceService vision/nobody not found", id="no such service"),
        pytest.param(["status", "x", "-n", "forbidden"], "user may not read that", id="not allowed"),
        pytest.param(["status", "-n", "other"], "is Seawall installed?", id="no such resource"),
        pytest.param(["status", "digits", "-A"], "NAME needs one namespace", id="name in all namespaces"),
        pytest.param(["rollout", "retry", "nobody"], "vision/nobody not found", id="retry of nothing"),
    ],
)
def test_bad_input(api, capsys, words, complaint):
    code, out, err = seawall(capsys, *words)
    assert (code, out) == (2, "")
    assert complaint in err
    assert len(err.splitlines()) == 1


def test_a_status_about_an_earlier_spec_is_no_success(api, capsys):
    code, _, _ = seawall(capsys, "status", "behind")
    assert code == 1


def test_no_cluster_at_all(tmp_path, monkeypatch, capsys):
    _use(monkeypatch, str(tmp_path / "absent"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    code, out, err = seawall(capsys, "status")
    assert (code, out) == (2, "")
    assert "no usable kubeconfig" in err


def test_retry_names_the_rollout(api, capsys):
    code, out, err = seawall(capsys, "rollout", "retry", "broken")
    assert (code, err) == (0, "")
    assert "deadbeef" in out
    [(path, content_type, body)] = api.patches
    assert path.startswith(f"{BASE}/namespaces/vision/inferenceservices/broken?fieldManager=seawall-cli")
    assert content_type == "application/merge-patch+json"
    [(name, word)] = body["metadata"]["annotations"].items()
    assert name == "serving.seawall.dev/rollout-command"
    assert re.fullmatch(r"retry@2-deadbeef:[0-9]+", word)  # so that it can be said again


SAID = {
    "skip": ("skip", rolling(), "skip: step 3 of 3 begins"),
    "skip of the last step": ("skip", rolling(step=2), "skip: it is promoted"),
    "promote at a gate": ("promote", rolling(pause=PAUSED), "promote: step 3 of 3 begins"),
    "promote-full": ("promote-full", rolling(), "promote-full: no further step"),
    "pause": ("pause", rolling(), "pause: the weight stays at 20%"),
    "resume": ("resume", rolling(pause=PAUSED), "resume: the step at hand"),
    "abort on the way": ("abort", rolling(), "abort: all traffic goes to 0a1b2c3d at once; 1f2e3d4c goes"),
    "abort where places were given": (
        "abort",
        rolling(displacedReplicas=2, candidateReplicas=2),
        "abort: all traffic goes to 0a1b2c3d as its pods come back; 1f2e3d4c goes",
    ),
    "abort in the watch": (
        "abort",
        rolling(**WATCHED),
        "abort: revision 0a1b2c3d serves again, in one switch",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_will_happen_is_said_first(api, capsys, case):
    verb, service, sentence = SAID[case]
    api.shown = [service]
    code, out, err = seawall(capsys, "rollout", verb, "canary", "-n", "rolling")
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first.startswith("canary: rollout 4-1f2e3d4c, revision 1f2e3d4c")
    assert second.startswith(sentence)
    [(_, _, body)] = api.patches
    [word] = body["metadata"]["annotations"].values()
    assert word.startswith(f"{verb}@4-1f2e3d4c:")


def test_a_spec_that_is_paused_is_named(api, capsys):
    service = rolling(pause=PAUSED, phase="Paused")
    service["spec"] = service["spec"] | {"rollout": {"paused": True}}
    api.shown = [service]
    _, out, _ = seawall(capsys, "rollout", "promote", "canary", "-n", "rolling")
    assert out.splitlines()[-1] == "spec.rollout.paused holds it all the same"


NOT_ACTED_ON = {
    "nothing rejected": (["retry", "digits"], "digits: no revision is rejected; revision 0a1b2c3d serves"),
    "no rollout": (["retry", "fresh"], "fresh: it has had no rollout yet"),
    "nothing on its way": (["promote", "digits"], "digits: nothing is on its way"),
    "nothing to pause": (["pause", "digits"], "spec.rollout.paused keeps the next one from starting"),
    "nothing to go back to": (["abort", "digits"], "no earlier revision is kept warm"),
    "not paused": (["resume", "canary", "-n", "rolling"], "it is not paused"),
    "nothing waits": (["promote", "canary", "-n", "rolling"], "nothing waits for a person; skip leaves"),
    "still going back": (["retry", "canary", "-n", "rolling"], "its traffic is still going back"),
}


@pytest.mark.parametrize("case", NOT_ACTED_ON)
def test_what_the_operator_would_not_act_on(api, capsys, case):
    words, sentence = NOT_ACTED_ON[case]
    code, out, err = seawall(capsys, "rollout", *words)
    assert (code, out, api.patches) == (1, "", [])
    assert sentence in err


def test_a_canary_in_the_places_of_stable_pods(api, capsys):
    api.shown = [rolling(displacedReplicas=2, candidateReplicas=2)]
    code, out, _ = seawall(capsys, "status", "canary", "-n", "rolling")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0
    assert "PODS 2 of the candidate, 2 of the stable revision, 4 places in all" in lines


def test_a_canary_in_full(api, capsys):
    code, out, _ = seawall(capsys, "status", "canary", "-n", "rolling")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for words in (
        "ROLLOUT 4-1f2e3d4c, Stepping, step 2 of 3",
        "WEIGHT 20% meant, 20% on the routes",
        "PODS 1 of the candidate, at least 4 of the stable revision",
        "WAITS StableNotReady: 3 of 4 pods (since 2026-11-01T12:01:00Z)",
        "METRIC FOR ROLLBACK FOR GOING ON RATIO CANDIDATE STABLE",
        "latency -0.31 of 4.6 2.10 of 3.0 1.04 812 3240",
        "errors 0.00 of 4.6 - of 3.0 - 812 -",
        "0a1b2c3d serving",
        "1f2e3d4c being judged Stepping",
        "deadbeef rejected Regression: late",
        "ffffffff aborted 2026-10-31T09:00:00Z",
    ):
        assert words in lines


def test_a_paused_canary_whose_routes_differ(api, capsys):
    api.shown = [rolling(phase="Paused", pause=PAUSED, hold=None, observedWeight=None)]
    _, out, _ = seawall(capsys, "status", "canary", "-n", "rolling")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "PAUSED StepPassed: sound (since 2026-11-01T12:02:00Z)" in lines
    assert "WEIGHT 20% meant, the routes differ, or there are none" in lines


def test_the_watch_after_a_promotion(api, capsys):
    api.shown = [rolling(**WATCHED)]
    _, out, _ = seawall(capsys, "status", "canary", "-n", "rolling")
    assert "0a1b2c3d  kept warm" in out
    assert "ROLLOUT" not in out


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_watching_shows_each_change_once_and_outlives_an_outage(api, capsys, monkeypatch, as_json):
    api.shown = [CANARY, CANARY, {}, rolling(desiredWeight=50), rolling(desiredWeight=50)]
    waits = iter([None] * 5)

    def sleep(seconds):
        assert seconds == 2.0
        if next(waits, "over") == "over":
            raise KeyboardInterrupt

    monkeypatch.setattr("seawall.cli.status.time.sleep", sleep)
    monkeypatch.setattr(Api, "_send", refusing_the_empty(Api._send))
    words = ["status", "canary", "-n", "rolling", "--watch", *(["--json"] if as_json else [])]
    code, out, err = seawall(capsys, *words)
    assert code == 0
    assert "not found" in err
    if as_json:
        weights = [json.loads(line)["rollout"]["desiredWeight"] for line in out.splitlines()]
        assert weights == [20, 50]
    else:
        assert [line.split()[1] for line in out.splitlines() if line.startswith("WEIGHT")] == ["20%", "50%"]


def refusing_the_empty(send):
    return lambda self, code, body: send(self, code if body else 404, body or {"message": "gone"})


def test_unknown_verb(capsys):
    with pytest.raises(SystemExit) as stopped, contextlib.redirect_stdout(None):
        parser(["rollout"]).parse_args(["rollout", "explode", "digits"])
    assert stopped.value.code == 2
