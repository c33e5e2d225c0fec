"""Shared by the tests of the detector: one thread, detections of key frames, and a browser."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from actiontubes.detect.model.detector import Detector
    from actiontubes.detect.model.postprocess import KeyFrameDetections
    from torch import Tensor


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Networks on small frames are slower on several threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def detect_key_frames() -> Callable[..., KeyFrameDetections]:
    """The detections of a detector after NMS, from the arguments of `Detector.score`."""
    import torch
    from actiontubes.detect.model.postprocess import decode_boxes, select_detections

    def detect(
        detector: Detector,
        features: dict[str, Tensor],
        clip_frames: int,
        proposals: Sequence[Tensor],
        clip_index: Tensor,
        key_frames: Tensor,
        threshold: float = 0.01,
    ) -> KeyFrameDetections:
        scores = detector.score(features, clip_frames, proposals, clip_index, key_frames)
        size = detector.config.size
        boxes = decode_boxes(scores.deltas, scores.proposals, size)
        counts = torch.tensor([len(each) for each in proposals])
        key_frame_index = torch.arange(len(proposals)).repeat_interleave(counts)
        return select_detections(scores.probabilities, boxes, key_frame_index, threshold=threshold)

    return detect


class Browser:
    """A tab of headless Chromium, by the DevTools protocol over pipes."""

    FLAGS = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
        "--disable-background-networking --disable-component-update --disable-sync "
        "--disable-dev-shm-usage --autoplay-policy=no-user-gesture-required --mute-audio "
        "--remote-debugging-pipe"
    )

    def __init__(self, program: str, profile: Path) -> None:
        import fcntl

        (commands, send), (receive, answers) = os.pipe(), os.pipe()
        # Chromium's own numbers, 3 and 4, may be those of these pipes here.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (commands, answers)]

        def number_pipes() -> None:
            for end, number in zip(ends, (3, 4)):
                os.dup2(end, number)

        self._process = subprocess.Popen(
            [program, *self.FLAGS.split(), f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(3, 4),
            preexec_fn=number_pipes,
        )  # fmt: skip
        for end in (commands, answers, *ends):
            os.close(end)
        self._send, self._receive = os.fdopen(send, "wb"), os.fdopen(receive, "rb")
        self._unread = b""
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        (target,) = [
            each["targetId"] for each in self.call("Target.getTargets")["targetInfos"]
            if each["type"] == "page"
        ]  # fmt: skip
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.call("Page.enable")
        self.call("Runtime.enable")

    def call(self, method: str, **params: Any) -> Any:
        """The result of a command of the protocol."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._send.write(json.dumps(message).encode() + b"\0")
        self._send.flush()
        while True:
            answer = self._next_message()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._events.append(answer)

    def _next_message(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            more = self._receive.read1(1 << 20)
            assert more, "Chromium has ended"
            self._unread += more
        message, self._unread = self._unread.split(b"\0", 1)
        return json.loads(message)

    def open(self, address: str, width: int = 1280, height: int = 900, wait: bool = True) -> None:
        """Opens a page and waits until it is loaded; one with an endless picture never is."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip
        self._events.clear()
        self.call("Page.navigate", url=address)
        while wait and not any(
            each.get("method") == "Page.loadEventFired" for each in self._events
        ):
            self._events.append(self._next_message())

    def run(self, script: str) -> Any:
        """The value of an expression, once it is known where it is a promise."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True,
                          awaitPromise=True, userGesture=True)  # fmt: skip
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def errors(self) -> list[str]:
        """Exceptions of the page's scripts since it was opened."""
        self.run("0")
        details = [
            each["params"]["exceptionDetails"] for each in self._events
            if each.get("method") == "Runtime.exceptionThrown"
        ]  # fmt: skip
        return [each.get("exception", {}).get("description", each["text"]) for each in details]

    def screenshot(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB of what the window shows."""
        png = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        return np.ascontiguousarray(image[..., ::-1])

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._send.close()
        self._receive.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A tab of headless Chromium; the test is skipped without it."""
    programs = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    program = next(filter(None, programs), None)
    if program is None or sys.platform == "win32":
        pytest.skip("no Chromium here to show pages (Debian: apt-get install chromium)")
    opened = Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
