"""Tests of locks in a bucket: a lease changes hands only by compare-and-set."""

from __future__ import annotations

import threading

import pytest
from botocore import exceptions
from limits import HANG, wait_until
from wsss.platform.errors import InputError
from wsss.platform.storage.object_store import bucket as object_bucket
from wsss.platform.storage.object_store import lease
from wsss.platform.storage.object_store.storage import ObjectStorage


def test_a_lease_is_taken_over_only_when_it_stays_unchanged(bucket, short_leases):
    storage = ObjectStorage(bucket)
    version = storage.create("locks/x", b"another-machine 1 x")
    stop = threading.Event()

    def beat():
        nonlocal version
        count = 0
        while not stop.wait(0.2):
            count += 1
            version = storage.replace("locks/x", b"another-machine 1 x %d" % count, version)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(BlockingIOError), storage.lock("locks/x", wait=False):
            pass
        assert version, "the lease of the other machine was replaced"
    finally:
        stop.set()
        thread.join()
    with storage.lock("locks/x"):
        first = storage.read("locks/x")
        assert not first.startswith(b"another-machine")
        wait_until(lambda: storage.read("locks/x") != first, "the lease is written again")
    assert not storage.exists("locks/x")


def test_of_many_machines_one_takes_an_expired_lease(bucket, short_leases, tmp_path):
    storage, taken, failed = ObjectStorage(bucket), [], []
    storage.create("locks/x", b"another-machine 1 x")
    leases = [lease.Lease(storage.bucket, "locks/x") for _ in range(4)]

    def take(number):
        try:
            leases[number].owner = f"machine-{number}"
            leases[number].take(wait=False)
            taken.append(number)
        except BlockingIOError:
            failed.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(taken) == 1, "one takes the lease")
    keeper = threading.Thread(target=leases[taken[0]].keep)
    keeper.start()
    for thread in threads:
        thread.join(HANG)
    assert (len(taken), len(failed)) == (1, 3)
    leases[taken[0]].ended.set()
    keeper.join()
    leases[taken[0]].release()
    assert not storage.exists("locks/x")


def test_a_holder_that_lost_its_lease_leaves_the_new_one_alone(bucket, short_leases):
    storage = ObjectStorage(bucket)
    with storage.lock("locks/x"):
        storage.write("locks/x", b"another-machine 1 x")
    assert storage.read("locks/x") == b"another-machine 1 x"


def test_a_beat_whose_answer_was_lost_keeps_the_lease(bucket, monkeypatch):
    held = lease.Lease(ObjectStorage(bucket).bucket, "locks/x")
    held.take(wait=False)
    held.version = '"of an earlier beat"'
    assert held._beat()
    assert held._beat()
    held.release()
    assert held.bucket.version("locks/x") == ""


@pytest.fixture
def disturbed(bucket, monkeypatch):
    """Return a storage and a function that disturbs the next write: once it was carried out, or
    before that."""
    real, disturbances = object_bucket._client, []

    class Client:
        def __init__(self, client):
            self.client = client

        def put_object(self, **words):
            disturbance = disturbances.pop() if disturbances else None
            if disturbance == "conflict":
                answer = {"ResponseMetadata": {"HTTPStatusCode": 409}}
                raise exceptions.ClientError(answer, "PutObject")
            if disturbance == "refused":
                raise exceptions.EndpointConnectionError(endpoint_url="http://away")
            answer = self.client.put_object(**words)
            if disturbance == "lost":
                raise exceptions.ConnectionClosedError(endpoint_url="http://away")
            return answer

    monkeypatch.setattr(object_bucket, "_client", lambda *words: Client(real(*words)))
    return ObjectStorage(bucket), disturbances.append


@pytest.mark.parametrize("kind", ["conflict", "refused", "lost"])
def test_a_disturbed_write_succeeds_once(disturbed, kind):
    storage, disturb = disturbed
    disturb(kind)
    version = storage.create("a", b"one")
    assert version == storage.version("a") != ""
    disturb(kind)
    assert storage.create("a", b"two") == ""
    disturb(kind)
    version = storage.replace("a", b"three", version)
    assert version == storage.version("a") != ""
    assert storage.read("a") == b"three"


@pytest.mark.parametrize("status", [200, 501])
def test_a_server_without_conditional_writes_is_named(bucket, monkeypatch, status):
    class Client:
        def put_object(self, **words):
            answer = {"ResponseMetadata": {"HTTPStatusCode": status}}
            if status == 200:
                return {**answer, "ETag": '"always written"'}
            raise exceptions.ClientError(answer, "PutObject")

        def delete_object(self, **words):
            return {"ResponseMetadata": {"HTTPStatusCode": 204}}

    monkeypatch.setattr(object_bucket, "_client", lambda *words: Client())
    sentence = r"s3://.* cannot be used: its server does not support conditional writes"
    with pytest.raises(InputError, match=sentence):
        ObjectStorage(bucket).check_writable("artifacts")
    with pytest.raises(InputError, match=sentence), ObjectStorage(bucket).lock("locks/x"):
        pass
