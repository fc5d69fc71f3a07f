"""Which callbacks and reply queues a job may ask for."""

from __future__ import annotations

import pytest

from shared.config import CallbackSettings
from shared.jobs.callbacks.policy import CallbackPolicy
from shared.jobs.requests import SubmitJob
from shared.problems import ProblemError

SECRET = "whsec_" + "c2VjcmV0" * 4


def callbacks(**settings: object) -> CallbackPolicy:
    return CallbackPolicy(CallbackSettings.model_validate(settings))


ALLOWING = {
    "callback_hosts": "hooks.contoso.com, *.fabrikam.com, other.example:8443",
    "callback_secret": SECRET,
    "reply_queues": "replies,more-replies",
}


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.contoso.com/end?x=1",
        "https://HOOKS.contoso.com:443/",
        "https://a.fabrikam.com",
        "https://a.b.fabrikam.com/x",
        "https://other.example:8443/",
    ],
)
def test_an_allowed_host_may_be_called(url: str) -> None:
    assert callbacks(**ALLOWING).refused_url(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.contoso.com/",
        "http://127.0.0.1/",
        "ftp://hooks.contoso.com/",
        "//hooks.contoso.com/",
        "hooks.contoso.com",
        "https://",
        "https://fabrikam.com/",
        "https://evilfabrikam.com/",
        "https://hooks.contoso.com.evil.example/",
        "https://hooks.contoso.com:8443/",
        "https://other.example/",
        "https://hooks.contoso.com@evil.example/",
        "https://user:word@hooks.contoso.com/",
        "https://evil.example#hooks.contoso.com",
        "https://evil.example\\@hooks.contoso.com/",
        "https://hooks.contoso.com:99999/",
        "https://[::1/",
        "",
    ],
)
def test_all_others_are_refused(url: str) -> None:
    assert callbacks(**ALLOWING).refused_url(url)


def test_without_settings_nothing_is_allowed() -> None:
    body = SubmitJob(message="Hi", callback_url="https://a.example/", reply_queue="replies")
    with pytest.raises(ProblemError) as caught:
        callbacks().requested(body)
    problem = caught.value.problem
    assert (problem.status, problem.code) == (422, "outlet_refused")
    assert [error.field for error in problem.errors] == ["callback_url", "reply_queue"]


def test_a_callback_needs_a_secret() -> None:
    refused = callbacks(callback_hosts="a.example").refused_url("https://a.example/")
    assert refused is not None
    assert "CALLBACK_SECRET" in refused


def test_what_is_allowed_goes_with_the_job() -> None:
    body = SubmitJob(message="Hi", callback_url="https://x.fabrikam.com/", reply_queue="replies")
    assert callbacks(**ALLOWING).requested(body) == {
        "callback_url": "https://x.fabrikam.com/",
        "reply_queue": "replies",
    }
    assert callbacks(**ALLOWING).requested(SubmitJob(message="Hi")) == {}


def test_loopback_is_for_tests_and_only_as_a_number() -> None:
    tests = callbacks(callback_secret=SECRET, loopback_callbacks=True)
    assert tests.refused_url("http://127.0.0.1:8080/") is None
    for url in ("http://localhost:8080/", "http://127.0.0.2/", "https://127.0.0.1/"):
        assert tests.refused_url(url)


@pytest.mark.parametrize("secret", ["plain", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64!" * 3])
def test_a_secret_that_cannot_sign_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        CallbackSettings(callback_secret=secret)
