"""The real AWS command line without its second of start-up: loaded once, forked for every call.

`warm_aws()` gives a folder to put in front of PATH. The `aws` in it hands its words, folder, environment and open files
to a process that has loaded `awscli` already; a child of that one runs awscli's own `main` with them and dies with
whoever called. `tests/simulator/aws/test_aws_cli.py` and one test of `tests/archives` run the installed program itself.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import marshal
import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

# Where the installed program lies.
INSTALLED = Path(sys.executable).parent
# What is written where the program `aws` is looked for. It loads next to nothing, so that it is up in milliseconds.
CALLER = """#!{python} -IS
import marshal, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
mask = os.umask(0)
asked = marshal.dumps((sys.argv, os.getcwd(), dict(os.environ), mask))
socket.send_fds(server, [len(asked).to_bytes(4, "big") + asked], [0, 1, 2])
status = server.recv(1)
sys.exit(status[0] if status else 70)
"""
# Models that every call of these services reads; they are read before the first fork.
SERVICES = ("athena", "cleanrooms", "entityresolution", "glue", "iam", "s3", "sts")


@functools.cache
def warm_aws() -> Path:
    """The folder with `aws`; the process behind it is started by the first test that asks, and ends with the tests."""
    folder = Path(tempfile.mkdtemp(prefix="warm-aws-"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.warm_aws", str(folder)],
        cwd=Path(__file__).resolve().parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    # It ends when this process, which alone holds the other end, has ended.
    atexit.register(process.communicate)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return folder


def remember_models() -> None:
    """Have botocore read each of its files about AWS once: every session reads them anew, which takes a while.

    Each gets a copy: the clients of S3 change the addresses in what they were given.
    """
    import botocore.loaders

    load = botocore.loaders.JSONFileLoader._load_file
    kept = functools.cache(lambda path, opens: pickle.dumps(load(None, path, opens), pickle.HIGHEST_PROTOCOL))
    botocore.loaders.JSONFileLoader._load_file = lambda _, path, opens: pickle.loads(kept(path, opens))


def serve(folder: Path) -> None:
    """Load awscli, write the program that calls, and fork a child for every call until our own caller has ended."""
    import awscli.clidriver
    import awscli.handlers

    remember_models()
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    session = awscli.clidriver.create_clidriver().session
    for service in SERVICES:
        session.create_client(service, aws_access_key_id="any", aws_secret_access_key="any")
    gc.collect()
    gc.freeze()

    address = str(folder / "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    program = folder / "aws"
    program.write_text(CALLER.format(python=sys.executable, address=address))
    program.chmod(0o755)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while 0 not in select.select([0, listener], [], [])[0]:
        caller, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            try:
                _answer(caller)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        caller.close()
    shutil.rmtree(folder)


def _answer(caller: socket.socket) -> None:
    """In a child: be `aws`, and tell the exit status."""
    import awscli.clidriver

    data, files, _, _ = socket.recv_fds(caller, 65_536, 3)
    wanted = 4 + int.from_bytes(data[:4], "big")
    while len(data) < wanted:
        data += caller.recv(wanted - len(data))
    words, folder, environment, mask = marshal.loads(data[4:])
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    threading.Thread(target=_die_with, args=(caller,), daemon=True).start()
    os.chdir(folder)
    os.umask(mask)
    own = {"AWS_DATA_PATH": os.environ["AWS_DATA_PATH"]}
    os.environ.clear()
    # awscli puts its own folder of models there when it is loaded.
    os.environ.update(environment | own)
    sys.argv[:] = words
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        status = awscli.clidriver.main()
    except SystemExit as error:
        status = error.code
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        caller.send(bytes([status or 0]))


def _die_with(caller: socket.socket) -> None:
    caller.recv(1)
    os._exit(1)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
