"""What a build must know of this machine's network: its CA bundle, and where pip and apt look.

All of it travels as build secrets, which the steps that need the network mount and no layer keeps.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PIP_SETTINGS = ("index-url", "extra-index-url", "find-links", "trusted-host", "proxy", "timeout", "retries")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def ca_bundle() -> Path | None:
    """The CA bundle that this environment was told to use, if it was told."""
    named = next((os.environ[name] for name in CA_VARIABLES if os.environ.get(name)), None)
    return Path(named) if named else None


def pip_settings() -> dict[str, list[str]]:
    """Where pip of this environment looks for packages; its variables win over its files."""
    found: dict[str, list[str]] = {}
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        if key.split(".")[-1] in PIP_SETTINGS:
            found[key.split(".")[-1]] = value.strip("'\"").replace("\\n", " ").split()
    for name in PIP_SETTINGS:
        if value := os.environ.get("PIP_" + name.upper().replace("-", "_")):
            found[name] = value.split()
    links = [each for each in found.get("find-links", []) if not is_empty(Path(each))]
    return {**found, "find-links": links} if links else {k: v for k, v in found.items() if k != "find-links"}


def is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def apt_settings() -> list[str]:
    if not shutil.which("apt-config"):
        return []
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
    wanted = ("proxy", "check-valid-until", "check-date")
    return [
        line
        for line in dump.splitlines()
        if line.startswith("Acquire::") and line.split(" ")[0].lower().rsplit("::", 1)[-1] in wanted
    ]


def secrets(folder: Path, pip: dict[str, list[str]]) -> list[str]:
    """What the build needs to know of this machine's network, as secrets: no layer keeps them."""
    apt, lines = apt_settings(), ["[global]", *(f"{key} = {' '.join(value)}" for key, value in pip.items())]
    words: list[str] = []
    if bundle := ca_bundle():
        apt.append('Acquire::https::CAInfo "/run/build/ca.pem";')
        lines.append("cert = /run/build/ca.pem")
        words += ["--secret", f"id=ca,src={bundle}"]
    for name, content in (("apt", apt), ("pip", lines)):
        path = folder / name
        path.write_text("\n".join(content) + "\n", encoding="utf-8")
        words += ["--secret", f"id={name},src={path}"]
    for name in PROXIES:
        words += ["--build-arg", name] if os.environ.get(name) else []
    return words
