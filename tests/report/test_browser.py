"""100 hostile texts in a report, opened by a real browser: it shows no dialog and asks for nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_audits import audit
from test_page import HOSTILE, rename

from headwater.report import summarise
from headwater.report.page import render_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--remote-debugging-pipe"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
PATIENCE = 60.0
SETTLED = 1.0  # seconds after the load in which a page may still do something


class Browser:
    """Headless Chromium and the pipe of its debugging protocol."""

    def __init__(self, said: int, heard: int) -> None:
        self._said, self._heard = said, heard
        self._last, self._rest = 0, b""
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; what happens meanwhile is kept in `events`."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        os.write(self._said, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        return next(heard for heard in self._messages(PATIENCE) if heard.get("id") == self._last).get("result", {})

    def wait(self, seconds: float, until: str = "") -> None:
        """Listen for so long, or until an event of this name."""
        for heard in self._messages(seconds):
            if heard.get("method") == until:
                return

    def _messages(self, seconds: float) -> Iterator[dict[str, Any]]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            *whole, self._rest = self._rest.split(b"\0")
            for number, text in enumerate(whole):
                heard = json.loads(text)
                if "method" in heard:
                    self.events.append(heard)
                self._rest = b"\0".join([*whole[number + 1 :], self._rest])
                yield heard
                break
            else:
                try:
                    self._rest += os.read(self._heard, 2**16)
                except BlockingIOError:
                    time.sleep(0.01)


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser of its own, gone at the end."""
    to_browser, said = os.pipe()
    heard, from_browser = os.pipe()
    os.set_blocking(heard, False)
    # Chromium reads commands from descriptor 3 and writes to 4.
    program = f"exec 3<&{to_browser} 4>&{from_browser}; exec {CHROMIUM} {' '.join(FLAGS)} --user-data-dir={profile}"
    process = subprocess.Popen(
        ["bash", "-c", program],
        pass_fds=(to_browser, from_browser),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Browser(said, heard)
    finally:
        process.kill()
        process.wait()
        for descriptor in (to_browser, said, heard, from_browser):
            os.close(descriptor)


def happenings(page: Path, browser: Browser) -> tuple[list[str], list[str]]:
    """Dialogs and requests of one page, apart from the page itself and what is inside it."""
    target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
    session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Network"):
        browser.ask(f"{domain}.enable", session)
    browser.events.clear()
    browser.ask("Page.navigate", session, url=page.as_uri())
    browser.wait(PATIENCE, until="Page.loadEventFired")
    browser.wait(SETTLED)
    dialogs = [e["params"]["message"] for e in browser.events if e["method"] == "Page.javascriptDialogOpening"]
    asked = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    loaded = any(e["method"] == "Page.loadEventFired" for e in browser.events) or dialogs
    assert loaded, browser.events
    return dialogs, [url for url in asked if url != page.as_uri() and not url.startswith("data:")]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: install Debian's package chromium to run this")
def test_a_browser_shows_no_dialog_and_asks_for_nothing(make_lab, tmp_path):
    assert len(HOSTILE) == 100
    with chromium(tmp_path / "profile") as browser:
        trap = tmp_path / "trap.html"
        trap.write_text("<title>x</title><img src='http://evil.example/x.png'>")
        dialogs, asked = happenings(trap, browser)
        assert "http://evil.example/x.png" in asked, "the browser must see what a page asks for"
        for start in (0, 37):
            page, texts = tmp_path / f"report-{start}.html", HOSTILE[start:] + HOSTILE[:start]
            lab = rename(make_lab(seeds=(0,)), texts)
            done = [node for node in lab.graph["nodes"] if lab.done(node)]
            for node, said in zip(done, (texts[:50], texts[50:]), strict=False):  # answers of a model, graded twice
                lab.put(node, "audit.json", audit(*((text, text, "wrong", "correct") for text in said)))
            page.write_text(render_page(summarise(lab)), encoding="utf-8")
            assert happenings(page, browser) == ([], [])
        trap.write_text("<title>x</title><script>setTimeout(() => alert('seen'), 100)</script>")
        dialogs, asked = happenings(trap, browser)
        assert dialogs == ["seen"], "the browser must see a dialog"
    print("torture: 100 hostile texts, each in four places of a report, in headless Chromium: no dialog, no request")
