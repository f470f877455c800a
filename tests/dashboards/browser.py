"""A headless Chromium driven over its debugging pipe with nothing but the standard library.

Chromium reads commands from file descriptor 3 and writes answers and events to descriptor 4, each a JSON object that
ends with a zero byte (--remote-debugging-pipe). That gives what the tests need: console messages, every request that
is made, an exact viewport (a window cannot be as narrow as a phone) and the emulation of the dark colour scheme.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
#: A program that moves its two pipes to the descriptors 3 and 4 and becomes the browser.
LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One browser process with one page; close it when done. Commands are those of the Chrome DevTools Protocol."""

    def __init__(self, profile: Path) -> None:
        binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if binary is None:
            raise FileNotFoundError("these tests look at the page in Chromium, but there is no chromium on the PATH")
        here_in, there_out = (_high(end) for end in os.pipe())
        there_in, here_out = (_high(end) for end in os.pipe())
        launch = [sys.executable, "-c", LAUNCH, str(there_in), str(there_out)]
        command = [*launch, binary, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._log = (profile.parent / f"{profile.name}.log").open("wb")
        self._process = subprocess.Popen(
            command, pass_fds=(there_in, there_out), stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        os.close(there_in)
        os.close(there_out)
        self._in, self._out, self._buffer, self._count = here_in, here_out, b"", 0
        self.console: list[str] = []
        self.requests: list[str] = []
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command to the page and return its result."""
        return self._call(method, parameters, self._session)

    def view(self, width: int, height: int, dark: bool = False) -> None:
        """Give the page a viewport in CSS pixels and a preferred colour scheme."""
        mobile = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        """Load a page and wait until it says that all its figures are drawn."""
        self.console.clear()
        self.requests.clear()
        self.call("Page.navigate", url="about:blank")
        failed = self.call("Page.navigate", url=url).get("errorText")
        if failed:
            raise RuntimeError(f"{url}: {failed}")
        self.wait_for("document.readyState === 'complete' && document.documentElement.dataset.drawn !== undefined")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression (a promise is awaited)."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 60.0) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(expression):
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {seconds:g} s still false: {expression}; console: {self.console}")
            self.settle()

    def settle(self) -> None:
        """Let the page draw two frames."""
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")

    def screenshot(self, path: Path, top: int = 0, height: int | None = None) -> None:
        """Save the page, or a piece of it from `top` on, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        height = int(size["height"]) - top if height is None else height
        clip = {"x": 0, "y": top, "width": size["width"], "height": height, "scale": 1}
        shot = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the browser."""
        self._call("Browser.close")
        self._process.wait(timeout=20)
        os.close(self._in)
        os.close(self._out)
        self._log.close()

    def _call(
        self, method: str, parameters: dict[str, Any] | None = None, session: str | None = None
    ) -> dict[str, Any]:
        self._count += 1
        number = self._count
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        """Keep what the page said on its console and what it asked the network for."""
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.consoleAPICalled":
            words = [str(part.get("value", part.get("description", ""))) for part in parameters["args"]]
            self.console.append(f"{parameters['type']}: {' '.join(words)}")
        elif event.get("method") == "Runtime.exceptionThrown":
            self.console.append(f"exception: {parameters['exceptionDetails']}")
        elif event.get("method") == "Log.entryAdded":
            self.console.append(f"{parameters['entry']['level']}: {parameters['entry']['text']}")
        elif event.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    def _read(self, seconds: float = 60.0) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._in], [], [], seconds)[0]:
                raise TimeoutError(f"Chromium said nothing for {seconds:g} s; its log is {self._log.name}")
            part = os.read(self._in, 1 << 20)
            if not part:
                raise RuntimeError(f"Chromium ended by itself; its log is {self._log.name}")
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(message))


def _high(descriptor: int) -> int:
    """Move a descriptor to 10 or above, out of the way of 3 and 4."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved
