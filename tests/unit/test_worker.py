"""What the app does in the worker after its import."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from shared.outbound import open_http, warm_up
from shared.worker import load_ahead


async def test_a_step_runs_in_a_thread_while_the_loop_goes_on() -> None:
    loop, began = asyncio.get_running_loop(), asyncio.Event()
    may_end = threading.Event()

    def step() -> None:
        loop.call_soon_threadsafe(began.set)
        assert may_end.wait(10)

    load_ahead(step)
    async with asyncio.timeout(10):
        await began.wait()
    may_end.set()


async def test_what_is_loaded_is_exempt_from_garbage_collection() -> None:
    gc.unfreeze()
    load_ahead(lambda: None)
    async with asyncio.timeout(10):
        while not gc.get_freeze_count():
            await asyncio.sleep(0.01)


def test_nothing_runs_without_a_loop() -> None:
    load_ahead(lambda: pytest.fail("there is no worker"))


def test_certificates_that_cannot_be_read_fail_the_first_request_and_not_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/authorities.pem")
    warm_up()
    with pytest.raises(ValueError, match="SSL_CERT_FILE"):
        open_http("https://acme.openai.azure.com")
