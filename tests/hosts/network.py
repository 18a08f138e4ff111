"""Hosts as network namespaces, plugged into a switch that can pull a plug."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from pathlib import Path

NETWORK = "10.77.0"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, stdin=subprocess.DEVNULL)


class Host:
    """A machine of its own as far as the network goes: an address, a name, and its processes."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.address, self.plug = name, f"{NETWORK}.{number}", f"plug{number}"
        command = ["unshare", "--net", "--uts", "--kill-child", "--fork", "sh", "-c", f"hostname {name} && exec cat"]
        self._keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # `cat` answers once the namespaces are there.
        self._keeper.stdin.write(b"there\n")
        self._keeper.stdin.flush()
        assert self._keeper.stdout.readline() == b"there\n"
        children = Path(f"/proc/{self._keeper.pid}/task/{self._keeper.pid}/children").read_text().split()
        self.inside = ["nsenter", "--target", children[0], "--net", "--uts", "--"]
        _ip("link", "add", self.plug, "type", "veth", "peer", "name", "eth0", "netns", children[0])
        _ip("link", "set", self.plug, "master", "switch", "up")
        for words in ("link set lo up", f"addr add {self.address}/24 dev eth0", "link set eth0 up"):
            subprocess.run([*self.inside, "ip", *words.split()], check=True)
        self.processes: list[tuple[list[str], dict[str, str], subprocess.Popen[bytes]]] = []

    def run(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        """Start a process on this host."""
        with log.open("ab") as out:
            process = subprocess.Popen(
                [*self.inside, *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append((command, environment, process))

    def revive(self, log: Path) -> int:
        """Start again what has ended, as a platform does; how many there were."""
        ended = [one for one in self.processes if one[2].poll() is not None]
        self.processes = [one for one in self.processes if one not in ended]
        for command, environment, _ in ended:
            self.run(command, environment, log)
        return len(ended)

    def cut_off(self) -> None:
        """Pull its plug: nothing comes in or out, and nobody is told."""
        _ip("link", "set", self.plug, "down")

    def plug_in(self) -> None:
        """Put the plug back."""
        _ip("link", "set", self.plug, "up")

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End its processes."""
        for _, _, process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        for _, _, process in self.processes:
            process.wait()
        self.processes = []

    def close(self) -> None:
        """Switch it off: its processes end, and its network is gone."""
        self.stop()
        self._keeper.kill()
        self._keeper.wait()
        self._keeper.stdin.close()
        self._keeper.stdout.close()


def make_switch() -> None:
    """In an empty network namespace: the switch, with an address for whoever watches."""
    _ip("link", "set", "lo", "up")
    _ip("link", "add", "switch", "type", "bridge")
    _ip("addr", "add", f"{NETWORK}.1/24", "dev", "switch")
    _ip("link", "set", "switch", "up")


class Watch(threading.Thread):
    """Keeps the processes of some hosts running, as a container platform does."""

    def __init__(self, hosts: list[Host], folder: Path) -> None:
        super().__init__(daemon=True)
        self.hosts, self.folder, self.revived, self._end = hosts, folder, 0, threading.Event()

    def run(self) -> None:
        while not self._end.wait(0.5):
            for host in self.hosts:
                self.revived += host.revive(self.folder / f"{host.name}.log")

    def stop(self) -> None:
        """Stop watching."""
        self._end.set()
        self.join()
