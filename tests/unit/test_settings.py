"""What an administrator may turn, and what is refused at the start."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from seawall.settings import Settings


@pytest.mark.parametrize(
    ("uri", "read"),
    [
        ("", ""),
        ("s3://artifacts", "s3://artifacts"),
        ("s3://artifacts/builds/", "s3://artifacts/builds"),
        ("oci://registry.example.com:5000/team/models", "oci://registry.example.com:5000/team/models"),
        ("pvc://claim/folder", "pvc://claim/folder"),
    ],
)
def test_a_store_is_read_without_a_slash_at_its_end(uri: str, read: str) -> None:
    settings = Settings(artifacts_uri=uri)
    assert settings.platform.artifacts_uri == settings.build_settings.artifacts_uri == read


@pytest.mark.parametrize(
    "setting",
    [
        {"artifacts_uri": "https://host/folder"},
        {"artifacts_uri": "s3://"},
        {"artifacts_uri": "s3://a b"},
        {"build_memory_limit": "plenty"},
        {"max_builds": 0},
        {"build_deadline_seconds": 5},
        {"build_retention_seconds": 0},
    ],
)
def test_what_no_build_could_run_with_is_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings(**setting)


def test_a_quantity_is_written_as_the_api_server_writes_it() -> None:
    assert Settings(build_memory_limit="8192Mi").build_settings.memory_limit == "8Gi"


def test_the_environment_names_keys_as_a_json_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAWALL_PUBLIC_KEYS", '["-----BEGIN PUBLIC KEY-----\\nMCow"]')
    assert Settings().platform.public_keys == ("-----BEGIN PUBLIC KEY-----\nMCow",)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("", ""),
        ("http://prometheus.monitoring:9090", "http://prometheus.monitoring:9090"),
        ("https://metrics.example.test/prometheus/", "https://metrics.example.test/prometheus"),
    ],
)
def test_a_prometheus_is_named_by_its_address(url: str, read: str) -> None:
    assert Settings(prometheus_url=url).prometheus_url == read


@pytest.mark.parametrize(
    "setting",
    [
        {"prometheus_url": "prometheus:9090"},
        {"prometheus_url": "http://"},
        {"prometheus_url": "http://p:9090/?query=up"},
        {"prometheus_url": "http://me:word@p:9090"},
        {"metrics_interval_seconds": 0.1},
        {"metrics_interval_seconds": 60},
        {"dispatch": "fastest"},
        {"metrics_api_port": 70000},
    ],
)
def test_what_nothing_could_be_measured_with_is_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings(**setting)
