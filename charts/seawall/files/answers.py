# What `helm test` runs in a pod.
# ruff: noqa: S310, T201
import json
import os
import ssl
from pathlib import Path
from urllib.request import Request, urlopen

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
KINDS = {"InferenceService", "AcceleratorClass", "ModelBuild"}

with urlopen(f"{os.environ['OPERATOR']}/readyz", timeout=20) as answer:
    print("the operator is ready:", json.load(answer))

host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
host = f"[{host}]" if ":" in host else host
asked = Request(
    f"https://{host}:{port}/apis/serving.seawall.dev/v1alpha1",
    headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"},
)
trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
with urlopen(asked, timeout=20, context=trusted) as answer:
    served = {kind["kind"] for kind in json.load(answer)["resources"]}
missing = KINDS - served
if missing:
    raise SystemExit(f"the API server does not serve: {', '.join(sorted(missing))}")
print("the API server serves:", ", ".join(sorted(KINDS)))
