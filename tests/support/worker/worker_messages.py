"""The messages between the Functions host and a worker, as plain objects of the same shape.

The real ones are generated from FunctionRpc.proto
(https://github.com/Azure/azure-functions-language-worker-protobuf), which no package on PyPI
carries; the worker library takes whatever module its proxy hands it as ``protos``.
"""

from types import SimpleNamespace
from typing import Any


class Message(SimpleNamespace):
    """A message: fields by name, and which field of a oneof is set."""

    def WhichOneof(self, _oneof: str) -> str | None:  # noqa: N802 - protobuf's own name
        """The name of the one field that is set."""
        return next(iter(vars(self)), None)


class StatusResult(Message):
    """How a request to the worker ended."""

    Failure, Success, Cancelled = 0, 1, 2


class BindingInfo(Message):
    """One binding of a function; directions and data types count as in the protocol."""

    out, inout = 1, 2
    undefined = 0


class ParameterBinding(Message):
    """An input of a function; its name is no member of the oneof."""

    def WhichOneof(self, _oneof: str) -> str | None:  # noqa: N802 - protobuf's own name
        """Where the input stands; shared memory is not used."""
        return "data"


PROTOS = SimpleNamespace(
    BindingInfo=BindingInfo,
    FunctionLoadResponse=Message,
    FunctionMetadataResponse=Message,
    InvocationResponse=Message,
    RpcException=Message,
    RpcFunctionMetadata=Message,
    StatusResult=StatusResult,
    TypedData=Message,
    WorkerInitResponse=Message,
    WorkerMetadata=Message,
)
"""What the library makes its answers of."""


def from_proxy(host: str, **request: Any) -> Message:
    """A request as the proxy worker passes it on: the message, and what it adds of its own."""
    return Message(request=Message(**request), properties={"host": host, "protos": PROTOS})


def invocation(
    function_id: str,
    invocation_id: str,
    input_data: ParameterBinding,
    trigger_metadata: dict[str, Message],
) -> Message:
    """An InvocationRequest of a function with one input, its trigger."""
    return Message(
        invocation_id=invocation_id,
        function_id=function_id,
        input_data=[input_data],
        trigger_metadata=trigger_metadata,
        trace_context=Message(trace_parent="", trace_state="", attributes={}),
        retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
    )


def http_input(name: str, method: str, url: str, params: dict[str, str]) -> ParameterBinding:
    """The input of an HTTP trigger; with streaming on, all but the route's parameters is HTTP's."""
    http = Message(method=method, url=url, headers={}, params=params, query={}, body=Message())
    return ParameterBinding(name=name, data=Message(http=http))


def queue_input(name: str, text: str) -> ParameterBinding:
    """The input of a queue trigger."""
    return ParameterBinding(name=name, data=Message(string=text))
