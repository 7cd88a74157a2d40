"""What the store believes when the watch, a LIST and our own writes tell it things in odd orders."""

from __future__ import annotations

from typing import Any

import pytest

from seawall.decide.types import Key
from seawall.runtime.kinds import DEPLOYMENT, POD, SERVICE, SERVICE_ACCOUNT
from seawall.runtime.reading import newer
from seawall.runtime.store import Store


def deployment(
    name: str, version: str, *, uid: str = "u", owner: str = "digits", **spec: Any
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": uid,
            "resourceVersion": version,
            "labels": {"serving.seawall.dev/inferenceservice": owner},
        },
        "spec": spec or {"replicas": 1},
    }


def service(name: str, version: str, accelerator: str = "cpu", **more: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "ns", "uid": f"uid-{name}", "resourceVersion": version}
    return {"metadata": meta, "spec": {"accelerator": {"class": accelerator}}, **more}


def held(store: Store, name: str = "d") -> str | None:
    found = store.get(DEPLOYMENT, "ns", name)
    return found["metadata"]["resourceVersion"] if found else None


@pytest.mark.parametrize(
    ("one", "other", "later"),
    [("9", "10", "10"), ("10", "9", "10"), ("", "9", "9"), ("9", "", "9"), ("abc", "5", "5")],
)
def test_versions_are_compared_as_numbers_where_they_are_numbers(one: str, other: str, later: str) -> None:
    assert newer(one, other) == later


def test_an_older_event_does_not_take_an_object_back() -> None:
    store = Store()
    assert store.put(DEPLOYMENT, deployment("d", "10", replicas=2))
    assert not store.put(DEPLOYMENT, deployment("d", "9", replicas=1))
    assert store.get(DEPLOYMENT, "ns", "d")["spec"] == {"replicas": 2}


def test_a_change_of_what_nobody_reads_is_no_news_but_moves_the_version() -> None:
    store = Store()
    store.put(DEPLOYMENT, deployment("d", "1"))
    later = deployment("d", "2")
    later["metadata"]["managedFields"] = [{"manager": "x"}]
    later["metadata"]["annotations"] = {"somebody.example/else": "1"}
    assert not store.put(DEPLOYMENT, later)
    assert held(store) == "2"


def test_the_echo_of_our_own_creation_is_no_news_in_either_order() -> None:
    made = deployment("d", "5")
    store = Store()
    store.begin_write(DEPLOYMENT, "ns", "d")
    assert not store.put(DEPLOYMENT, made)  # the watch is faster than the answer
    assert not store.end_write(DEPLOYMENT, "ns", "d", made)
    store = Store()
    store.begin_write(DEPLOYMENT, "ns", "d")
    assert not store.end_write(DEPLOYMENT, "ns", "d", made)
    assert not store.put(DEPLOYMENT, made)


@pytest.mark.parametrize(
    ("told", "answer", "left"),
    [
        ("7", "5", "7"),  # somebody wrote after us: theirs stays, and it deserves a look
        ("4", "5", "5"),  # somebody wrote just before us: our answer holds theirs too
    ],
)
def test_a_change_by_others_around_our_write_is_looked_at_again(told: str, answer: str, left: str) -> None:
    store = Store()
    store.put(DEPLOYMENT, deployment("d", "3"))
    store.begin_write(DEPLOYMENT, "ns", "d")
    store.put(DEPLOYMENT, deployment("d", told, replicas=9))
    assert store.end_write(DEPLOYMENT, "ns", "d", deployment("d", answer, replicas=1))
    assert held(store) == left


def test_an_object_deleted_before_the_answer_to_our_write_came_does_not_come_back() -> None:
    store = Store()
    store.begin_write(DEPLOYMENT, "ns", "d")
    store.put(DEPLOYMENT, deployment("d", "5"))
    store.remove(DEPLOYMENT, deployment("d", "6"))
    assert store.end_write(DEPLOYMENT, "ns", "d", deployment("d", "5"))
    assert held(store) is None


def test_our_own_status_write_is_no_news_but_a_spec_that_changed_with_it_is() -> None:
    store = Store()
    store.put(SERVICE, service("digits", "1"))
    store.begin_write(SERVICE, "ns", "digits")
    assert not store.end_write(SERVICE, "ns", "digits", service("digits", "2", status={"replicas": 1}))
    store.begin_write(SERVICE, "ns", "digits")
    edited = service("digits", "4", "gpu", status={"replicas": 2})
    assert store.end_write(SERVICE, "ns", "digits", edited)
    assert store.users("gpu") == [Key("ns", "digits")]
    assert store.users("cpu") == []


def test_the_end_of_a_predecessor_does_not_remove_its_successor() -> None:
    store = Store()
    store.put(DEPLOYMENT, deployment("d", "10", uid="new"))
    assert not store.remove(DEPLOYMENT, deployment("d", "11", uid="old"))
    assert held(store) == "10"


def test_a_list_drops_what_vanished_unseen_and_keeps_what_is_newer_than_the_list() -> None:
    store = Store()
    for name, version in (("ghost", "5"), ("kept", "6"), ("young", "12")):
        store.put(DEPLOYMENT, deployment(name, version))
    store.begin_list(DEPLOYMENT)
    news, vanished = store.replace(
        DEPLOYMENT, [deployment("kept", "6"), deployment("unseen", "8")], list_version="10"
    )
    assert [m["metadata"]["name"] for m in news] == ["unseen"]
    assert [m["metadata"]["name"] for m in vanished] == ["ghost"]
    assert [held(store, n) for n in ("ghost", "kept", "young", "unseen")] == [None, "6", "12", "8"]


def test_a_list_does_not_bring_back_what_the_watch_saw_deleted_while_it_was_on_its_way() -> None:
    store = Store()
    store.put(DEPLOYMENT, deployment("d", "5"))
    store.begin_list(DEPLOYMENT)
    store.remove(DEPLOYMENT, deployment("d", "11"))
    store.replace(DEPLOYMENT, [deployment("d", "5")], list_version="10")
    assert held(store) is None


def test_a_list_of_one_namespace_says_nothing_about_another() -> None:
    store = Store()
    elsewhere = deployment("d", "5")
    elsewhere["metadata"]["namespace"] = "other"
    store.put(DEPLOYMENT, elsewhere)
    _, vanished = store.replace(DEPLOYMENT, [], list_version="10", namespace="ns")
    assert vanished == []


def test_children_are_found_by_label_and_pods_are_kept_small() -> None:
    store = Store()
    pod = deployment("p", "1")
    pod["spec"] = {"containers": ["much"]}
    pod["status"] = {"podIP": "10.0.0.1", "phase": "Running", "qosClass": "Burstable"}
    store.put(POD, pod)
    store.put(DEPLOYMENT, deployment("mine", "1"))
    store.put(DEPLOYMENT, deployment("other", "1", owner="someone"))
    children = store.children(Key("ns", "digits"))
    assert [d["metadata"]["name"] for d in children["Deployment"]] == ["mine"]
    assert children["Pod"][0]["status"] == {"podIP": "10.0.0.1", "phase": "Running"}
    assert "spec" not in children["Pod"][0]
    assert children["Pod"][0]["kind"] == "Pod"


def test_namespaces_and_shared_objects_are_counted_up_and_down() -> None:
    store = Store()
    account = {"metadata": {"name": "seawall-model", "namespace": "ns", "uid": "a", "resourceVersion": "1"}}
    store.put(SERVICE, service("one", "1"))
    store.put(SERVICE, service("two", "1"))
    store.put(SERVICE_ACCOUNT, account)
    store.remove(SERVICE, service("one", "2"))
    assert store.serves("ns")
    assert store.service_count == 1
    store.remove(SERVICE, service("two", "2"))
    assert not store.serves("ns")
    assert store.shared_namespaces() == {"ns"}
    store.forget(SERVICE_ACCOUNT, "ns", "seawall-model", "a")
    assert len(store) == 0
    assert store.shared("ns") == []


@pytest.mark.parametrize("spec", [None, {}, {"accelerator": None}, {"accelerator": "cpu"}])
def test_a_service_without_a_readable_accelerator_is_stored_all_the_same(spec: Any) -> None:
    store = Store()
    assert store.put(SERVICE, {**service("odd", "1"), "spec": spec})
    assert store.service(Key("ns", "odd"))["spec"] == spec


def test_versions_tell_of_every_change_to_a_service_and_its_children() -> None:
    store, key = Store(), Key("ns", "s")
    seen = [store.versions(key)]
    for kind, told in (
        (SERVICE, service("s", "3")),
        (DEPLOYMENT, deployment("d", "4", owner="s")),
        (DEPLOYMENT, deployment("d", "5", owner="s")),
        (SERVICE, service("s", "6")),
    ):
        store.put(kind, told)
        seen.append(store.versions(key))
    assert len(set(seen)) == len(seen)
    store.put(SERVICE, service("other", "7"))
    assert store.versions(key) == seen[-1]
    store.clear(DEPLOYMENT)
    assert store.versions(key) == ("6",)
    assert store.services() == [key, Key("ns", "other")]
