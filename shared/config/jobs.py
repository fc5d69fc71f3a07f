"""Settings of jobs, and of the callbacks and reply queues that receive their results."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field, field_validator

from .base import Env, Settings, names_in
from .rules import each, own_queue_name, queue_name, rule

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of every secret, as Standard Webhooks has it

MIN_SECRET_BYTES = 24

HTTPS_PORT = 443
_ENTRY = re.compile(
    r"(?P<below>\*\.)?(?P<name>[^\s:/?#@\[\]*]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_LAST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class CallbackHost:
    """One entry of `CALLBACK_HOSTS`: a host, or all its subdomains."""

    name: str
    """A DNS name in ASCII (`xn--...`), or an IPv6 address without brackets."""
    port: int = HTTPS_PORT
    names_below: bool = False

    @classmethod
    def parse(cls, entry: str) -> Self:
        """Read ``host``, ``*.host``, ``host:port`` or ``[address]:port``.

        Raises:
            ValueError: saying what an entry must be.
        """
        match = _ENTRY.fullmatch(entry.strip().lower())
        name = _dns_name(match["name"]) if match else None
        port = int(match["port"] or HTTPS_PORT) if match else 0
        if not match or name is None or not 0 < port <= _LAST_PORT:
            raise ValueError("write a host alone: name, *.name or name:port, no https:// and no /")
        if match["below"] and ":" in name:
            raise ValueError("an IP address has no subdomains")
        return cls(name, port, bool(match["below"]))

    def matches(self, host: str, port: int | None) -> bool:
        """Whether a URL's host, as a DNS name in ASCII, and its port match this entry."""
        if port != self.port:
            return False
        host = host.lower().rstrip(".")
        return host.endswith("." + self.name) if self.names_below else host == self.name


def _dns_name(name: str) -> str | None:
    if name.startswith("["):
        return name[1:-1]
    try:
        ascii_name = name.rstrip(".").encode("idna").decode()
    except UnicodeError:
        return None
    return ascii_name if _NAME.fullmatch(ascii_name) else None


class JobSettings(Settings):
    """How jobs come in and how long they may run."""

    intake_queue: Annotated[str, rule(own_queue_name), Env("JOBS_QUEUE_NAME", "agent-jobs")] = (
        "agent-jobs"
    )
    """Queue to which producers send jobs; `<name>-poison` receives messages that cannot be run."""

    lanes_queue: Annotated[str, rule(own_queue_name), Env("LANES_QUEUE_NAME", "agent-lanes")] = (
        "agent-lanes"
    )
    """Internal queue with wake-ups for lanes that have work."""

    lanes_per_owner: Annotated[int, Env("JOBS_LANES_PER_OWNER", "24")] = Field(
        default=24, ge=1, le=48
    )
    """The most lanes of one owner that a worker runs at once while other owners' jobs wait for it;
    fewer if many owners have jobs. While no other owner's jobs wait, it is 48, the whole worker."""

    turn_timeout: Annotated[float, Env("JOB_TURN_TIMEOUT", "600")] = Field(
        default=600, gt=0, le=1740
    )
    """Seconds that one message of a job may take; no HTTP request waits, so it may be long."""


class CallbackSettings(Settings):
    """Callbacks and reply queues that get the results of jobs."""

    callback_hosts: Annotated[
        str, each(CallbackHost.parse), Env("CALLBACK_HOSTS", "hooks.contoso.com,*.fabrikam.com")
    ] = ""
    """Hosts that may receive callbacks, separated by commas; `*.` stands for all subdomains,
    `host:port` for a port other than 443. Empty: a job with a `callback_url` is refused."""

    callback_secret: Annotated[str, Env("CALLBACK_SECRET", "whsec_<base64>")] = Field(
        default="", repr=False
    )
    """Secret from which the secret of each receiving host is derived: `whsec_` and at least 24
    bytes in base64. Several are separated by commas; each of them signs, so that one can be
    replaced without an interruption."""

    callback_timeout: Annotated[float, Env("CALLBACK_TIMEOUT", "10")] = Field(
        default=10, gt=0, le=60
    )
    """Seconds within which a receiver must accept a callback."""

    reply_queues: Annotated[
        str, each(queue_name), Env("REPLY_QUEUES", "replies,billing-replies")
    ] = ""
    """Queues of the storage account that may receive results of jobs, separated by commas. Empty: a
    job with a `reply_queue` is refused."""

    deliveries_queue: Annotated[
        str, rule(own_queue_name), Env("DELIVERIES_QUEUE_NAME", "agent-deliveries")
    ] = "agent-deliveries"
    """Internal queue that names the jobs whose results are to be delivered."""

    loopback_callbacks: Annotated[bool, Env("TESTS_ONLY_ALLOW_CALLBACKS_TO_127_0_0_1", "false")] = (
        False
    )
    """Lets callbacks go to `http://127.0.0.1`. For tests only: never set it where the app serves
    others."""

    @field_validator("callback_secret")
    @classmethod
    def _can_sign(cls, text: str) -> str:
        for secret in names_in(text):
            try:
                key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
            except ValueError:
                key = b""
            if not secret.startswith(SECRET_PREFIX) or len(key) < MIN_SECRET_BYTES:
                raise ValueError(f"each is {SECRET_PREFIX} and {MIN_SECRET_BYTES} bytes or more")
        return text
