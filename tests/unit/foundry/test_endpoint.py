"""Endpoint URLs and agent ids: what is recognised, and what a refusal tells to do."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.foundry.endpoint import AgentReference, Endpoint, Surface
from shared.foundry.errors import ConfigurationError

HOST = "https://acme.services.ai.azure.com"


@pytest.mark.parametrize(
    ("url", "surface", "root"),
    [
        (f"{HOST}/api/projects/p", Surface.PROJECT, f"{HOST}/api/projects/p"),
        (f"{HOST}/api/projects/p/", Surface.PROJECT, f"{HOST}/api/projects/p"),
        (f"{HOST}/api/projects/_project", Surface.PROJECT, f"{HOST}/api/projects/_project"),
        (f"{HOST}/api/projects/p/openai/v1", Surface.PROJECT, f"{HOST}/api/projects/p"),
        (f"{HOST}/api/projects/p/openai/v1/", Surface.PROJECT, f"{HOST}/api/projects/p"),
        (f"{HOST}/openai/v1", Surface.RESOURCE, HOST),
        (f"{HOST}/openai/v1/", Surface.RESOURCE, HOST),
        (
            "https://acme.openai.azure.com:8443/openai/v1",
            Surface.RESOURCE,
            "https://acme.openai.azure.com:8443",
        ),
        (
            "http://127.0.0.1:9000/api/projects/local",
            Surface.PROJECT,
            "http://127.0.0.1:9000/api/projects/local",
        ),
        ("http://localhost/openai/v1", Surface.RESOURCE, "http://localhost"),
        ("http://[::1]:9000/openai/v1", Surface.RESOURCE, "http://[::1]:9000"),
        (HOST, Surface.RESOURCE, HOST),
        (f"{HOST}/", Surface.RESOURCE, HOST),
        (f"{HOST}//", Surface.RESOURCE, HOST),
        *(
            (f"{host}{slash}", Surface.RESOURCE, host)
            for host in (
                "https://your-endpoint.azure.com",
                "https://acme.openai.azure.com",
                "https://acme.cognitiveservices.azure.com",
            )
            for slash in ("", "/")
        ),
    ],
)
def test_it_recognises_a_surface(url: str, surface: Surface, root: str) -> None:
    endpoint = Endpoint.parse(url)
    assert endpoint == Endpoint(surface, root)
    assert endpoint.openai == f"{root}/openai/v1"
    assert endpoint.has_conversations == (surface is Surface.PROJECT)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"{HOST}/api/projects", "leads to no Foundry surface"),
        (f"{HOST}/api/projects/p/agents/a", "leads to no Foundry surface"),
        (f"{HOST}/openai/deployments/x", "leads to no Foundry surface"),
        (f"{HOST}/models", "leads to no Foundry surface"),
        ("http://acme.services.ai.azure.com/openai/v1", "use https://"),
        (f"{HOST}/openai/v1?api-version=v1", "not a plain http"),
        ("https://user:pw@acme.example/openai/v1", "not a plain http"),
        ("acme.services.ai.azure.com/openai/v1", "not a plain http"),
        ("ftp://acme.example/openai/v1", "not a plain http"),
        ("https:///openai/v1", "not a plain http"),
        (f"{HOST}/#key", "not a plain http"),
        ("https://acme .example", "not a plain http"),
        ("https://acme.example:0", "not a plain http"),
        ("https://acme.example:port", "not a URL"),
        (f"{HOST}/openai", "leads to no Foundry surface"),
    ],
)
def test_a_refusal_names_setting_reason_and_fix(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        Endpoint.parse(url)
    text = str(caught.value)
    assert "FOUNDRY_AGENT_SERVICE_ENDPOINT" in text
    assert "https://<account>.services.ai.azure.com/api/projects/<project>" in text
    assert "pw@" not in text


def test_a_missing_endpoint_has_the_documented_text() -> None:
    with pytest.raises(
        ValueError, match="Foundry Agent Service endpoint URL not configured"
    ) as caught:
        Endpoint.parse("")
    assert "FOUNDRY_AGENT_SERVICE_ENDPOINT" in str(caught.value)


@example("https://[")
@given(st.text() | st.text(alphabet="htps:/[].@?#019azn").map(lambda rest: f"https://{rest}"))
def test_any_text_is_an_endpoint_or_a_configuration_error(url: str) -> None:
    try:
        endpoint = Endpoint.parse(url)
    except ConfigurationError:
        return
    assert endpoint.root.startswith("http")


@pytest.mark.parametrize(
    ("agent_id", "name", "version"),
    [
        ("helper", "helper", None),
        ("support-agent:3", "support-agent", "3"),
        ("a" * 63, "a" * 63, None),
        ("9", "9", None),
    ],
)
def test_it_reads_an_agents_name_and_version(agent_id: str, name: str, version: str | None) -> None:
    agent = AgentReference.parse(agent_id)
    assert agent is not None
    assert agent == AgentReference(name, version)
    expected = {"type": "agent_reference", "name": name}
    assert agent.to_json() == (expected | {"version": version} if version else expected)


def test_no_agent_is_no_agent() -> None:
    assert AgentReference.parse("") is None


@pytest.mark.parametrize(
    "agent_id", ["asst_abc123", "0a1b2c3d-1111-2222-3333-444455556666", "asst_abc:1"]
)
def test_classic_ids_are_refused_with_the_fix(agent_id: str) -> None:
    with pytest.raises(ConfigurationError, match=r"agent's name, or name:version"):
        AgentReference.parse(agent_id)


@pytest.mark.parametrize(
    "agent_id", ["helper:", ":3", "-helper", "helper-", "my agent", "a" * 64, "a/b", "a.b", "ä"]
)
def test_what_cannot_be_a_name_is_refused(agent_id: str) -> None:
    with pytest.raises(ConfigurationError, match="FOUNDRY_AGENT_ID must be"):
        AgentReference.parse(agent_id)
