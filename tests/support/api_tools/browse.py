"""Opens the page of the API document in Chromium and tries an operation; prints what it saw."""

import json
import sys
from urllib.parse import urlsplit

from playwright.sync_api import Page, sync_playwright

REPORT_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""
MESSAGE = json.dumps({"message": "Hello from the page"})
SEND = "#operations-Messages-sendMessage"


def main(url: str, chromium: str, screenshot: str) -> dict[str, object]:
    """Load the page, enter a key, send a message, and read the answer."""
    errors: list[str] = []
    requests: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(REPORT_VIOLATIONS)
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{url}/api/docs")
        page.wait_for_selector(SEND)
        answer, keys = _tried(page)
        page.screenshot(path=screenshot)
        violations = page.evaluate("window.violations")
        browser.close()
    host = urlsplit(url).netloc
    return {
        "errors": errors,
        "violations": violations,
        "elsewhere": [each for each in requests if urlsplit(each).netloc not in {host, ""}],
        "requests": len(requests),
        "answer": answer,
        "keys": keys,
    }


def _tried(page: Page) -> tuple[object, list[str | None]]:
    """The answer that the page shows to a message, and the keys with which it was sent."""
    page.click(".auth-wrapper .authorize")
    page.fill(".modal-ux #api_key_value >> nth=0", "a-key")
    page.click(".modal-ux button.authorize >> nth=0")
    page.click(".modal-ux button.btn-done")
    page.click(f"{SEND} .opblock-summary-control")
    page.fill(f"{SEND} textarea.body-param__text", MESSAGE)
    with page.expect_request("**/api/messages") as sent:
        page.click(f"{SEND} button.execute")
    keys = [sent.value.headers.get("x-functions-key")]
    shown = page.wait_for_selector(f"{SEND} .live-responses-table .response .highlight-code")
    page.locator(f"{SEND} .live-responses-table").scroll_into_view_if_needed()
    return (shown.inner_text() if shown else ""), keys


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))  # noqa: T201 - the result
