"""A headless Chromium driven over WebDriver's HTTP, and synthetic sounds."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


class Browser:
    """One Chromium session: pages from disk, real clicks and keys, its log, its pictures."""

    def __init__(self, endpoint: str, binary: str, profile: Path) -> None:
        self._endpoint = endpoint
        options = {
            "binary": binary,
            "args": [*CHROMIUM_FLAGS, f"--user-data-dir={profile}"],
        }
        wanted = {
            "alwaysMatch": {
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL"},
            }
        }
        self._session = self._call("POST", "/session", {"capabilities": wanted})["sessionId"]
        # Offline before anything is opened: what works now works without a network.
        self.devtools("Network.enable")
        self.devtools(
            "Network.emulateNetworkConditions",
            offline=True,
            latency=0,
            downloadThroughput=0,
            uploadThroughput=0,
        )

    def open(self, path: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Open a page from disk in a window of this size."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])
        self._post("/url", {"url": path.as_uri()})

    def run(self, script: str) -> Any:
        """The value of a script's `return`."""
        return self._post("/execute/sync", {"script": script, "args": []})

    def wait(self, condition: str, seconds: float = 90.0) -> None:
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition});"):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """A key stroke as a person makes it (it counts as a gesture, which sound needs)."""
        self._actions("key", [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}])

    def click(self, selector: str, index: int = 0) -> None:
        """A click in the middle of the element."""
        found = f"document.querySelectorAll({json.dumps(selector)})[{index}]"
        element = self.run(f"{found}.scrollIntoView({{block: 'nearest'}}); return {found};")
        pointer = [
            {"type": "pointerMove", "origin": element, "x": 0, "y": 0},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        self._actions("pointer", pointer)

    def errors(self) -> list[str]:
        """What the console complained about since the last call."""
        entries = self._post("/se/log", {"type": "browser"})
        return [e["message"] for e in entries if e["level"] in ("SEVERE", "WARNING")]

    def screenshot(self) -> bytes:
        """The whole page as PNG."""
        shot = self.devtools("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        return base64.b64decode(shot["data"])

    def devtools(self, command: str, **parameters: Any) -> Any:
        """One DevTools command."""
        return self._post("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def close(self) -> None:
        """End the session; Chromium exits."""
        self._call("DELETE", f"/session/{self._session}")

    def _actions(self, kind: str, actions: list[dict[str, Any]]) -> None:
        self._post("/actions", {"actions": [{"type": kind, "id": kind, "actions": actions}]})

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._call("POST", f"/session/{self._session}{path}", body)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._endpoint + path, data, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=180) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Headless Chromium, or a skip that says what is missing."""
    driver = shutil.which("chromedriver")
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    if driver is None or binary is None:
        pytest.skip("needs chromium and chromedriver (Debian: chromium chromium-driver)")
    log = tmp_path_factory.mktemp("chromedriver") / "log"
    with log.open("w") as out:
        process = subprocess.Popen([driver, "--port=0"], stdout=out, stderr=out)
    try:
        session = Browser(_endpoint(log), binary, tmp_path_factory.mktemp("profile"))
        yield session
        session.close()
    finally:
        process.terminate()
        process.wait(timeout=10)


def _endpoint(log: Path) -> str:
    """Where chromedriver listens: it picks a free port and prints it."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        for line in log.read_text().splitlines():
            if "started successfully on port" in line:
                return f"http://127.0.0.1:{line.rstrip('.').rsplit(' ', 1)[1]}"
        time.sleep(0.05)
    raise AssertionError(f"chromedriver did not start: {log.read_text()}")


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    """Noise [n] of a seed and a level, float32."""

    def make(samples: int, seed: int = 0, level: float = 0.1) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return (level * rng.standard_normal(samples)).astype(np.float32)

    return make
