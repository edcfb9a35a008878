"""A headless Chromium, for the programs in this directory."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

PATIENCE = 15.0
AXE = Path(sys.executable).parents[1] / "axe.min.js"
ARGUMENTS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --disable-default-apps --disable-dev-shm-usage --force-color-profile=srgb
    --lang=en-GB""".split()


class Browser:
    """Starts with an empty profile that goes with it."""

    def __enter__(self) -> Browser:
        self.profile = tempfile.TemporaryDirectory(prefix="doorbuster-browser-", ignore_cleanup_errors=True)
        options = ChromeOptions()
        for argument in [*ARGUMENTS, f"--user-data-dir={self.profile.name}"]:
            options.add_argument(argument)
        options.binary_location = path_of("chromium")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.chrome = Chrome(options, Driver(path_of("chromedriver")))
        self.chrome.set_page_load_timeout(PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(f"the page says:\n{self.run('return document.body.innerText')}\n{self.complaints()}")
        self.chrome.quit()
        self.profile.cleanup()

    def run(self, script: str, *arguments: Any) -> Any:
        return self.chrome.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        return self.until(lambda: self.chrome.find_element(By.CSS_SELECTOR, selector), f"{selector} to be there")

    def shown(self, selector: str) -> list[WebElement]:
        return [each for each in self.chrome.find_elements(By.CSS_SELECTOR, selector) if each.is_displayed()]

    def text(self, selector: str) -> str:
        """As it is laid out; empty where it is not to be seen."""
        return " ".join(each.text for each in self.shown(selector))

    def button(self, name: str, within: str = "body") -> WebElement:
        def look() -> WebElement | None:
            found = [each for each in self.shown(f"{within} button") if each.text == name]
            return found[0] if found else None

        return self.until(look, f"a button {name!r} in {within}")

    def fill(self, values: dict[str, str], within: str = "dialog[open]") -> None:
        """`values`: by the text of the labels."""
        for name, value in values.items():
            label = self.until(
                lambda name=name: next((it for it in self.shown(f"{within} label") if it.text == name), None), name
            )
            self.write(self.find(f"#{label.get_attribute('for')}"), value)

    def write(self, field: WebElement, value: str) -> None:
        # A field of a time is typed in parts, which hang on the locale: here it is set as a picker sets it.
        if field.get_attribute("type") == "datetime-local":
            self.run("arguments[0].value = arguments[1]", field, value)
            return
        field.clear()
        field.send_keys(value)

    def until(self, look: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
        """What `look` gives, once it gives something."""
        deadline = time.monotonic() + patience
        while True:
            try:
                if found := look():
                    return found
            except StaleElementReferenceException:
                pass
            except Exception as error:
                if type(error).__name__ != "NoSuchElementException":
                    raise
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(0.05)

    def says(self, selector: str, text: str, patience: float = PATIENCE) -> None:
        self.until(lambda: text in self.text(selector), f"{text!r} in {selector}", patience)

    def show(self, theme: str, width: int, height: int = 900) -> None:
        scheme = [{"name": "prefers-color-scheme", "value": theme}]
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def check_accessibility(self, what: str) -> None:
        """By axe-core: WCAG 2 A and AA. Its text comes in past the page's own policy, as a test may."""
        if not self.run("return 'axe' in window"):
            self.chrome.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text() + ";0"})
        rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
        found = self.chrome.execute_async_script(
            "const done = arguments[1];"
            "axe.run(document, arguments[0]).then(done, (error) => done({ error: String(error) }))",
            rules,
        )
        assert found.get("passes"), f"axe did not run on {what}: {found}"
        wrong = [(it["id"], it["help"], [node["html"] for node in it["nodes"]]) for it in found["violations"]]
        assert not wrong, f"{what}: {json.dumps(wrong, indent=1)}"

    def complaints(self) -> list[str]:
        """What the page complained of since the last look. A refused answer is the network's word."""
        entries = self.chrome.get_log("browser")
        return [it["message"] for it in entries if it["source"] != "network" and it["level"] != "INFO"]

    def requests(self) -> list[dict[str, Any]]:
        """What the page sent since the last look."""
        messages = [json.loads(entry["message"])["message"] for entry in self.chrome.get_log("performance")]
        return [it["params"]["request"] for it in messages if it["method"] == "Network.requestWillBeSent"]


def path_of(program: str) -> str:
    path = shutil.which(program)
    assert path, f"{program} is not installed: scripts/test installs it"
    return path
