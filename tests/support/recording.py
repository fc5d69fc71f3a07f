"""An OpenTelemetry SDK in the test's process, which records spans while a test listens."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes


class Recorder(SpanProcessor, Sampler):
    """Keeps the spans that end while it listens; while it does not, none is made."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.listens = False

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)

    def should_sample(  # noqa: PLR0917 - the SDK's own
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        decision = Decision.RECORD_AND_SAMPLE if self.listens else Decision.DROP
        parent = trace.get_current_span(parent_context).get_span_context()
        return SamplingResult(decision, attributes, trace_state or parent.trace_state)

    def get_description(self) -> str:
        return "while a test listens"


_installed: list[Recorder] = []


@contextmanager
def recorded() -> Generator[list[ReadableSpan]]:
    """The spans that end meanwhile; a process can have one SDK only, so it stays behind, silent."""
    if not _installed:
        recorder = Recorder()
        provider = TracerProvider(sampler=recorder, shutdown_on_exit=False)
        provider.add_span_processor(recorder)
        trace.set_tracer_provider(provider)
        _installed.append(recorder)
    (recorder,) = _installed
    recorder.spans, recorder.listens = [], True
    try:
        yield recorder.spans
    finally:
        recorder.listens = False
