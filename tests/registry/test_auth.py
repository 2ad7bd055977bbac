import json
from collections.abc import Generator
from dataclasses import dataclass, field

import pytest

from imagekit.base.clock import FixedClock
from imagekit.registry.auth import (
    Authenticator,
    Credentials,
    parse_scopes,
    render_scopes,
    repository_scopes,
)
from imagekit.registry.errors import AuthenticationError, ProtocolError
from imagekit.registry.requests import BytesReader, Request, Response

URL = "https://r.example/v2/a/manifests/1"
BEARER = 'Bearer realm="https://auth.example/token",service="r",scope="repository:a:pull"'
ANN = Credentials(username="ann", password="s3cret")


def _answer(status: int, body: object = None, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    raw = b"" if body is None else json.dumps(body).encode()
    return Response(status=status, headers=named, body=BytesReader(raw), url=URL)


@dataclass
class Played:
    """An exchange played with prepared answers."""

    sent: list[Request] = field(default_factory=list)
    result: Response | None = None


def _play(exchange: Generator[Request, Response, Response], *answers: Response) -> Played:
    played = Played()
    try:
        played.sent.append(next(exchange))
        for answer in answers:
            played.sent.append(exchange.send(answer))
    except StopIteration as end:
        played.result = end.value
    return played


def _authenticator(clock: FixedClock, credentials: Credentials | None = None) -> Authenticator:
    return Authenticator(credentials=lambda: credentials, clock=clock)


def test_an_open_registry_sees_no_credentials(clock: FixedClock) -> None:
    played = _play(
        _authenticator(clock, ANN).exchange(Request(method="GET", url=URL)), _answer(200)
    )

    assert [dict(one.headers) for one in played.sent] == [{}]
    assert played.result is not None
    assert played.result.status == 200


def test_basic_is_answered_and_then_sent_at_once(clock: FixedClock) -> None:
    authenticator = _authenticator(clock, ANN)
    refusal = _answer(401, www_authenticate='Basic realm="x"')

    first = _play(authenticator.exchange(Request(method="GET", url=URL)), refusal, _answer(200))
    second = _play(authenticator.exchange(Request(method="GET", url=URL)), _answer(200))

    assert first.sent[1].headers["authorization"] == "Basic YW5uOnMzY3JldA=="
    assert second.sent[0].headers["authorization"] == "Basic YW5uOnMzY3JldA=="


def test_wrong_basic_credentials_are_not_sent_in_a_circle(clock: FixedClock) -> None:
    refusal = _answer(401, www_authenticate='Basic realm="x"')

    played = _play(
        _authenticator(clock, ANN).exchange(Request(method="GET", url=URL)), refusal, refusal
    )

    assert len(played.sent) == 2
    assert played.result is refusal


def test_anonymous_token_is_fetched_used_and_kept(clock: FixedClock) -> None:
    authenticator = _authenticator(clock)
    scopes = repository_scopes("a", "pull")

    first = _play(
        authenticator.exchange(Request(method="GET", url=URL), scopes),
        _answer(401, www_authenticate=BEARER),
        _answer(200, {"token": "T1", "expires_in": 300}),
        _answer(200),
    )
    second = _play(authenticator.exchange(Request(method="GET", url=URL), scopes), _answer(200))

    assert first.sent[1].url == ("https://auth.example/token?service=r&scope=repository%3Aa%3Apull")
    assert "authorization" not in first.sent[1].headers
    assert first.sent[2].headers["authorization"] == "Bearer T1"
    assert second.sent[0].headers["authorization"] == "Bearer T1"


def test_a_token_is_renewed_before_it_expires(clock: FixedClock) -> None:
    authenticator = _authenticator(clock, ANN)
    scopes = repository_scopes("a", "pull")
    _play(
        authenticator.exchange(Request(method="GET", url=URL), scopes),
        _answer(401, www_authenticate=BEARER),
        _answer(200, {"access_token": "T1"}),
        _answer(200),
    )

    clock.sleep(56)
    played = _play(
        authenticator.exchange(Request(method="GET", url=URL), scopes),
        _answer(200, {"access_token": "T2"}),
        _answer(200),
    )

    assert played.sent[0].url.startswith("https://auth.example/token?")
    assert played.sent[0].headers["authorization"] == ANN.basic
    assert played.sent[1].headers["authorization"] == "Bearer T2"


def test_wider_scopes_ask_for_another_token(clock: FixedClock) -> None:
    authenticator = _authenticator(clock)
    _play(
        authenticator.exchange(Request(method="GET", url=URL), repository_scopes("a", "pull")),
        _answer(401, www_authenticate=BEARER),
        _answer(200, {"token": "T1", "expires_in": 300}),
        _answer(200),
    )

    played = _play(
        authenticator.exchange(
            Request(method="PUT", url=URL), repository_scopes("a", "pull", "push")
        ),
        _answer(200, {"token": "T2", "expires_in": 300}),
        _answer(201),
    )

    assert "scope=repository%3Aa%3Apull%2Cpush" in played.sent[0].url
    assert played.sent[1].headers["authorization"] == "Bearer T2"


def test_a_refused_token_is_replaced_once(clock: FixedClock) -> None:
    authenticator = _authenticator(clock)
    scopes = repository_scopes("a", "pull")
    refusal = _answer(401, www_authenticate=BEARER)
    _play(
        authenticator.exchange(Request(method="GET", url=URL), scopes),
        refusal,
        _answer(200, {"token": "T1", "expires_in": 300}),
        _answer(200),
    )

    played = _play(
        authenticator.exchange(Request(method="GET", url=URL), scopes),
        refusal,
        _answer(200, {"token": "T2", "expires_in": 300}),
        refusal,
    )

    assert [one.headers.get("authorization") for one in played.sent] == [
        "Bearer T1",
        None,
        "Bearer T2",
    ]
    assert played.result is refusal


def test_an_identity_token_is_exchanged_by_post(clock: FixedClock) -> None:
    played = _play(
        _authenticator(clock, Credentials(identity_token="ID")).exchange(
            Request(method="GET", url=URL)
        ),
        _answer(401, www_authenticate=BEARER),
        _answer(200, {"access_token": "T1"}),
        _answer(200),
    )

    asked = played.sent[1]
    assert (asked.method, asked.url) == ("POST", "https://auth.example/token")
    assert isinstance(asked.body, bytes)
    assert b"grant_type=refresh_token" in asked.body
    assert b"refresh_token=ID" in asked.body


def test_a_registry_token_is_used_as_it_is(clock: FixedClock) -> None:
    played = _play(
        _authenticator(clock, Credentials(registry_token="RT")).exchange(
            Request(method="GET", url=URL)
        ),
        _answer(401, www_authenticate=BEARER),
        _answer(200),
    )

    assert played.sent[1].headers["authorization"] == "Bearer RT"


def test_secrets_are_not_sent_to_a_token_service_without_tls(clock: FixedClock) -> None:
    exchange = _authenticator(clock, ANN).exchange(Request(method="GET", url=URL))
    next(exchange)

    with pytest.raises(AuthenticationError, match="without TLS"):
        exchange.send(_answer(401, www_authenticate='Bearer realm="http://evil.example/t"'))


def test_a_refusing_token_service_is_an_authentication_error(clock: FixedClock) -> None:
    exchange = _authenticator(clock, ANN).exchange(Request(method="GET", url=URL))
    next(exchange)
    exchange.send(_answer(401, www_authenticate=BEARER))

    with pytest.raises(AuthenticationError) as caught:
        exchange.send(_answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "no"}]}))

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("body", [None, [], {}, {"token": 3}, {"token": "a\nb"}, {"token": ""}])
def test_nonsense_of_a_token_service_is_a_protocol_error(body: object, clock: FixedClock) -> None:
    exchange = _authenticator(clock).exchange(Request(method="GET", url=URL))
    next(exchange)
    exchange.send(_answer(401, www_authenticate=BEARER))

    with pytest.raises(ProtocolError):
        exchange.send(_answer(200, body))


def test_credentials_do_not_show_their_secrets() -> None:
    shown = repr(
        Credentials(username="ann", password="one", identity_token="two", registry_token="three")
    )

    assert shown == "Credentials(username='ann')"


def test_scopes_survive_parsing_and_rendering() -> None:
    scopes = parse_scopes("repository:host:5000/a:pull,push registry:catalog:* nonsense")

    assert render_scopes(scopes) == ["registry:catalog:*", "repository:host:5000/a:pull,push"]
