"""Many clients at once: on one blob, on one tag, on one session."""

import concurrent.futures
import os
from typing import TYPE_CHECKING

from imagekit.oci.digest import Digest

if TYPE_CHECKING:
    from tests.registry_server.conftest import Api


def test_clients_push_the_same_blob_together(api: "Api") -> None:
    content = os.urandom(600_000)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(lambda _: api.push_blob("a", content), range(24)))

    assert set(digests) == {str(Digest.of(content))}
    assert api("GET", f"/v2/a/blobs/{digests[0]}").body == content


def test_reader_of_a_moving_tag_always_finds_a_whole_manifest(api: "Api") -> None:
    documents = [api.image("a", annotations={"n": str(n)}) for n in range(2)]
    known = {api.push_manifest("a", document)[0] for document in documents}
    api.push_manifest("a", documents[0], tag="moving")

    def move(turn: int) -> None:
        assert api.push_manifest("a", documents[turn % 2], tag="moving")[1].status == 201

    def read(_: int) -> str:
        answer = api("GET", "/v2/a/manifests/moving")
        assert answer.status == 200
        assert answer.header("Docker-Content-Digest") == str(Digest.of(answer.body))
        return str(Digest.of(answer.body))

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        moves = [pool.submit(move, turn) for turn in range(40)]
        seen = set(pool.map(read, range(120)))
        for done in moves:
            done.result()

    assert seen <= known


def test_one_session_takes_one_writer_at_a_time(api: "Api") -> None:
    """Whoever comes second is refused, and the content is that of those who were let in."""
    location = api.start("a")
    parts = [bytes([n]) * 100_000 for n in range(8)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda part: api("PATCH", location, part), parts))

    taken = [part for part, answer in zip(parts, answers, strict=True) if answer.status == 202]
    assert {answer.status for answer in answers} <= {202, 409}
    assert taken
    last = int(api("GET", location).header("Range").removeprefix("0-"))
    assert last + 1 == 100_000 * len(taken)
