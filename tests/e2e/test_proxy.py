"""The app behind a corporate proxy and a certificate authority of its own."""

from pathlib import Path

import httpx

from tests.support.proxying import HOSTS, running_proxy
from tests.support.served import Deployment


async def test_the_app_answers_through_a_proxy(deployment: Deployment, tmp_path: Path) -> None:
    own = Deployment(deployment.storage, deployment.foundry)
    async with running_proxy(tmp_path) as proxy:
        settings = {
            "FOUNDRY_AGENT_SERVICE_ENDPOINT": f"https://{HOSTS[0]}/openai/v1",
            "FOUNDRY_AGENT_SERVICE_API_KEY": "a-key",
            "FOUNDRY_MAX_RETRIES": "0",
            "HTTPS_PROXY": proxy.url,
            "SSL_CERT_FILE": str(proxy.certificate.path),
        }
        with own.serve(tmp_path, False, **settings) as host:
            async with httpx.AsyncClient(base_url=f"{host.url}/api/", timeout=30) as caller:
                answer = await caller.post("messages", json={"message": "Hi"})
                proxy.status = 403
                refused = await caller.post("messages", json={"message": "Hi"})
    assert (answer.status_code, answer.json()["content"]) == (200, "Hi")
    assert proxy.tunnels == [HOSTS[0]]
    assert (refused.status_code, refused.json()["code"]) == (503, "service_unavailable")
    assert "the proxy refused to connect (403)" in refused.json()["detail"]
