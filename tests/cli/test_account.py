"""Profiles: signing in, in what order an app and a key are chosen, and that no key goes astray."""

import json
import stat
import sys
from pathlib import Path

import pytest

from cli.errors import UsageError
from cli.profiles import KeyStore, Profile, Profiles
from cli.target import Chosen, Target, checked_url, is_local
from local.services import FunctionsHost
from tests.support.leaks import leaks
from tests.support.terminal import Aos

from .stub import Said, answering

OTHER = "aos_0123456789_" + "a" * 51


@pytest.fixture
def nobody(tmp_path: Path) -> Aos:
    """A user who has not signed in."""
    return Aos(tmp_path, "")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of this process, which has no app and no key in its environment."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("AOS_URL", "AOS_KEY", "AOS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)
    return tmp_path / "aos"


@pytest.mark.parametrize("columns", [120, 40])
def test_signing_in_on_a_terminal_shows_no_key(
    app: FunctionsHost, key: str, nobody: Aos, columns: int
) -> None:
    signing = nobody.start("login", "--url", app.url, "--profile", "work", columns=columns)
    signing.expect(f"Key for {app.url}: ")
    signing.type(f"{key}\n")
    signed = signing.wait()
    assert signed.code == 0, signed.plain
    assert leaks(signed.out) == []
    file = nobody.folder / "config/aos/keys.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    me = json.loads(nobody.pipe("whoami").out)
    assert (me["url"], me["profile"], me["key_from"]) == (app.url, "work", "profile work")
    assert me["owner"] == f"key:{key.split('_')[1]}"
    assert nobody.run("logout", columns=columns).code == 0
    assert key not in file.read_text()
    assert nobody.pipe("logout").code == 3


def test_a_key_that_the_app_refuses_is_not_stored(app: FunctionsHost, nobody: Aos) -> None:
    refused = nobody.pipe("login", "--url", app.url, given=f"{OTHER}\n".encode())
    assert refused.code == 3
    assert leaks(refused.out + refused.err) == []
    assert not (nobody.folder / "config/aos").exists()
    assert nobody.pipe("login", "--url", app.url, given=b"\n").code == 2


def test_removing_another_profile_keeps_the_current_one(nobody: Aos) -> None:
    with answering({"me": Said(200, b'{"owner": "key:1"}')}) as stub:
        for name in ("first", "second", "third"):
            signed = nobody.pipe("login", "--url", stub.url, "--profile", name, given=b"secret\n")
            assert signed.code == 0, signed.err
        assert nobody.pipe("logout", "--profile", "first").code == 0
        assert json.loads(nobody.pipe("whoami").out)["profile"] == "third"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:7071", True),
        ("http://[::1]:7071", True),
        ("http://127.0.0.1", True),
        ("http://localhost.evil.example", False),
    ],
)
def test_what_is_of_this_machine_is_told_by_the_host(url: str, expected: bool) -> None:
    assert is_local(url) is expected


def test_a_token_of_the_azure_cli_is_sent(nobody: Aos) -> None:
    az = nobody.folder / "bin/az"
    az.parent.mkdir()
    token = {"accessToken": "eyJ.eyJ.sig", "expiresOn": "2100-01-01 00:00:00.000000"}
    az.write_text(f"#!/bin/sh\ncat <<END\n{json.dumps(token)}\nEND\n")
    az.chmod(0o755)
    user = Aos(nobody.folder, "", {"PATH": f"{az.parent}:/usr/bin:/bin"})
    with answering({"me": Said(200, b'{"owner": "t:o"}')}) as stub:
        signed = user.pipe("login", "--url", stub.url, "--entra", "api://app/.default")
        assert signed.code == 0, signed.err
        assert user.pipe("whoami").code == 0
        assert [each["Authorization"] for each in stub.headers] == ["Bearer eyJ.eyJ.sig"] * 2
        az.write_text("#!/bin/sh\necho 'Please run az login' >&2\nexit 1\n")
        out = user.pipe("whoami")
    assert out.code == 3
    assert "Run: az login --scope api://app/.default" in out.err


def test_flags_come_before_the_environment_and_that_before_the_profile(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Target.choose(Chosen()).url == "http://localhost:7071"
    Profiles("work", {"work": Profile("https://work.example")}).write()
    KeyStore().put("work", OTHER)
    assert Target.choose(Chosen()).key == OTHER
    elsewhere = Target.choose(Chosen(url="https://other.example"))
    assert (elsewhere.url, elsewhere.key) == ("https://other.example", "")  # it is not its key
    monkeypatch.setenv("AOS_URL", "https://work.example/api/")
    assert Target.choose(Chosen()).key == OTHER
    monkeypatch.setenv("AOS_KEY", "from-environment")
    assert Target.choose(Chosen()).headers() == {"x-functions-key": "from-environment"}
    flagged = Target.choose(Chosen(url="https://flag.example", key="from-flag"))
    assert (flagged.url, flagged.key) == ("https://flag.example", "from-flag")
    assert "from-flag" not in repr(flagged)


def test_no_key_goes_to_another_machine_unencrypted(home: Path) -> None:
    with pytest.raises(UsageError, match="https"):
        Target.choose(Chosen(url="http://work.example", key="secret"))
    assert Target.choose(Chosen(url="http://[::1]:7071", key="secret")).key == "secret"
    assert Target.choose(Chosen(url="http://work.example")).key == ""


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "ftp://x",
        "http://",
        "http://u:p@x",
        "http://x?code=1",
        "http://x:99999",
        "http://[",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError, match="the URL"):
        checked_url(url)


def test_a_configuration_that_is_none_is_reported(home: Path) -> None:
    home.mkdir()
    for content in (b"\xff", b"[", b"profiles = 3", b"[profiles.x]\n"):
        (home / "config.toml").write_bytes(content)
        with pytest.raises(UsageError):
            Profiles.read()
    Profiles("a", {"a": Profile('https://x/"\\', "s\x7f")}).write()
    assert Profiles.read() == Profiles("a", {"a": Profile('https://x/"\\', "s\x7f")})


class FakeKeyring:
    """As the package `keyring` is used."""

    class errors:  # noqa: N801
        class KeyringError(Exception):
            """What a keyring raises."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], str] = {}
        self.is_locked = False

    def get_keyring(self) -> object:
        return self

    def _check(self) -> None:
        if self.is_locked:
            raise self.errors.KeyringError

    def get_password(self, service: str, name: str) -> str | None:
        self._check()
        return self.stored.get((service, name))

    def set_password(self, service: str, name: str, value: str) -> None:
        self._check()
        self.stored[service, name] = value

    def delete_password(self, service: str, name: str) -> None:
        self._check()
        if self.stored.pop((service, name), None) is None:
            raise self.errors.KeyringError


def test_a_keyring_holds_the_keys_where_there_is_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = FakeKeyring()
    monkeypatch.setitem(sys.modules, "keyring", ring)
    store = KeyStore()
    assert store.put("work", "secret") == "the keyring"
    assert not (home / "keys.json").exists()
    assert store.get("work") == "secret"
    ring.is_locked = True
    assert store.get("work") is None
    assert store.put("work", "other").endswith("keys.json")
    assert store.get("work") == "other"
    ring.is_locked = False
    store.delete("work")
    assert (store.get("work"), ring.stored) == (None, {})
