"""The page on identity says what the code does about each error and in each mode."""

from pathlib import Path

from shared.audit.trail import Action
from shared.config import AuthMode
from shared.http.principal import Role
from shared.identity.aadsts import FIXES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "identity.md").read_text()


def test_every_error_of_entra_has_its_fix_on_the_page() -> None:
    rows = [f"| AADSTS{code} | {fix} |" for code, fix in FIXES.items()]
    assert [row for row in rows if row not in PAGE.splitlines()] == []


def test_every_mode_and_role_is_on_the_page() -> None:
    assert [mode for mode in AuthMode if f"| `{mode}`" not in PAGE] == []
    assert [role for role in Role if f"| `{role}` |" not in PAGE] == []


def test_every_action_on_record_is_on_the_page_of_the_api() -> None:
    page = (DOCS / "http-api.md").read_text()
    assert [action for action in Action if f"`{action}`" not in page] == []
