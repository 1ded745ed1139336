"""A SuperLink and SuperNodes on loopback, for tests: started on free ports, and always ended, with all that they started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Deployment"]

BIN = Path(sys.executable).parent
MARK = "TACIT_TEST_DEPLOYMENT"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Deployment:
    """Processes of one test, and their logs."""

    def __init__(self, folder: Path, keys: Path) -> None:
        self.folder, self.keys, self.mark = folder, keys, uuid.uuid4().hex
        self.port = free_port()
        self.home = folder / "flwr-home"
        self.home.mkdir(parents=True)
        (self.home / "config.toml").write_text(
            f'[superlink]\ndefault = "tls"\n\n[superlink.tls]\naddress = "127.0.0.1:{self.port}"\nroot-certificates = "{keys / "ca.crt"}"\n'
        )
        quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self.environment = {**os.environ, **quiet, "FLWR_HOME": str(self.home), MARK: self.mark, "PATH": f"{BIN}:{os.environ['PATH']}"}
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        command = [str(BIN / words[0]), *words[1:]]
        with (self.folder / f"{name}.log").open("ab") as log:
            made = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment, start_new_session=True)
        self.started.append(made)
        return made

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def logs(self) -> str:
        return "\n".join(f"== {path.name}\n{self.log(path.stem)[-2500:]}" for path in sorted(self.folder.glob("*.log")))

    def superlink(self) -> None:
        keys = self.keys
        tls = ["--ssl-ca-certfile", keys / "ca.crt", "--ssl-certfile", keys / "server.pem", "--ssl-keyfile", keys / "server.key"]
        rest = ["--isolation", "subprocess", "--disable-runtime-dependency-installation", "--enable-supernode-auth", "--host", "127.0.0.1"]
        place = ["--port", self.port, "--database", self.folder / "state.db"]
        self.until(lambda: not self.reachable(), 60, "the one before is gone")
        link = self.start("superlink", "flower-superlink", *map(str, [*tls, *rest, *place]))
        self.until(self.reachable, 120, "the SuperLink listens", link)

    def reachable(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def node(self, name: str, key: str, config: str) -> subprocess.Popen[bytes]:
        access = ["--superlink", f"127.0.0.1:{self.port}", "--root-certificates", self.keys / "ca.crt"]
        access += ["--auth-supernode-private-key", self.keys / key, "--isolation", "subprocess"]
        place = ["--host", "127.0.0.1", "--port", free_port(), "--node-config", config]
        self.nodes[name] = self.start(name, "flower-supernode", *map(str, [*access, *place]))
        return self.nodes[name]

    def flwr(self, *words: str) -> str:
        done = subprocess.run([str(BIN / "flwr"), *words], capture_output=True, text=True, env=self.environment, timeout=240, check=False)
        assert done.returncode == 0, f"flwr {' '.join(words)}: {done.stdout} {done.stderr}"
        return done.stdout

    def until(self, ready: Callable[[], Any], seconds: float, what: str, process: subprocess.Popen[bytes] | None = None) -> None:
        end = time.monotonic() + seconds
        while not ready():
            assert process is None or process.poll() is None, f"ended before {what}\n{self.logs()}"
            assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}\n{self.logs()}"
            time.sleep(0.3)

    def kill(self, *, of: Callable[[str], bool] = lambda command: True) -> None:
        """Kill those of this test's processes whose command line fits; all carry its mark in their environment."""
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                marked = f"{MARK}={self.mark}".encode() in (place / "environ").read_bytes().split(b"\0")
                if marked and of((place / "cmdline").read_bytes().replace(b"\0", b" ").decode()):
                    os.kill(int(place.name), signal.SIGKILL)

    def close(self) -> None:
        for _ in range(3):  # what was about to be started when the first round went by
            self.kill()
            time.sleep(0.3)
        for process in self.started:
            process.wait(timeout=10)
        shutil.rmtree(self.home, ignore_errors=True)
