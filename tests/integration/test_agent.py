"""atoll exec, cp and ssh against guest agents of ours: one that is honest, one that is silent, one
that lies."""
import base64
import json
import os
import socket
import subprocess
import threading

import pytest

from test_mistakes import CONFIG, NO_FILE, UNAVAILABLE, USAGE, assert_mistake
from test_vms import button, vms  # noqa: F401, fixtures


class Agent:
    """Listens where the VM's line to its agent would be."""

    def __init__(self, directory, answer):
        self.files, self.handles, self.answer = {}, {}, answer
        self.listener = socket.socket(socket.AF_UNIX)
        fd = os.open(directory, os.O_RDONLY)
        self.listener.bind(f"/proc/self/fd/{fd}/agent.sock")
        os.close(fd)
        self.listener.listen(1)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.listener.accept()
            try:
                for line in client.makefile("rb"):
                    said = self.answer(self, line)
                    if said is not None:
                        client.sendall(said)
            except OSError:
                pass


def honest(agent, line):
    sync = line.startswith(b"\xff")
    request = json.loads(line.lstrip(b"\xff"))
    arguments = request.get("arguments", {})
    result = {}
    match request["execute"]:
        case "guest-sync-delimited":
            result = arguments["id"]
        case "guest-exec":
            data = base64.b64decode(arguments["input-data"]) if "input-data" in arguments else None
            done = subprocess.run([arguments["path"], *arguments["arg"]], input=data,
                                  stdin=None if data is not None else subprocess.DEVNULL,
                                  capture_output=True)
            agent.done = done
            result = {"pid": 5}
        case "guest-exec-status":
            result = {"exited": True, "exitcode": agent.done.returncode,
                      "out-data": base64.b64encode(agent.done.stdout).decode(),
                      "err-data": base64.b64encode(agent.done.stderr).decode()}
        case "guest-fsfreeze-freeze" | "guest-fsfreeze-thaw":
            result = 2
        case "guest-network-get-interfaces":
            result = [{"name": "e\x1b[31mth0", "hardware-address": "52:54:00:00:00:01", "ip-addresses": [
                          {"ip-address": "10.0.2.15", "ip-address-type": "ipv4", "prefix": 24},
                          {"ip-address": "fe80::1", "ip-address-type": "ipv6", "prefix": 64}]},
                      {"name": "dummy"}]
        case "guest-file-open":
            path = arguments["path"]
            if arguments["mode"] == "r" and path not in agent.files:
                return json.dumps({"error": {"class": "GenericError",
                                             "desc": "No such file or directory"}}).encode() + b"\n"
            if arguments["mode"] == "w":
                agent.files[path] = b""
            handle = len(agent.handles) + 1000
            agent.handles[handle] = [path, 0]
            result = handle
        case "guest-file-read":
            handle = agent.handles[arguments["handle"]]
            data = agent.files[handle[0]][handle[1]:handle[1] + min(arguments["count"], 10000)]
            handle[1] += len(data)
            result = {"count": len(data), "buf-b64": base64.b64encode(data).decode(),
                      "eof": handle[1] == len(agent.files[handle[0]])}
        case "guest-file-write":
            data = base64.b64decode(arguments["buf-b64"])[:20000]
            agent.files[agent.handles[arguments["handle"]][0]] += data
            result = {"count": len(data), "eof": False}
    return (b"\xff" if sync else b"") + json.dumps({"return": result}).encode() + b"\n"


@pytest.fixture
def running(vms, button):
    vms.good("start", button)
    return button


def test_exec(vms, running):
    Agent(vms.directory(running), honest)
    done = vms.run("exec", running, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    done = subprocess.run([vms.atoll, "exec", running, "--input", "--", "tr", "a-z", "A-Z"],
                          input=b"shout", capture_output=True, env=vms.env)
    assert (done.returncode, done.stdout) == (0, b"SHOUT")


def test_cp(vms, running, tmp_path):
    agent = Agent(vms.directory(running), honest)
    data = os.urandom(300000)
    (tmp_path / "in").write_bytes(data)
    vms.good("cp", str(tmp_path / "in"), f"{running}:/root/x")
    assert agent.files["/root/x"] == data
    vms.good("cp", f"{running}:/root/x", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == data
    done = subprocess.run([vms.atoll, "cp", f"{running}:/root/x", "-"], capture_output=True,
                          env=vms.env)
    assert done.stdout == data
    assert_mistake(vms.run("cp", f"{running}:/none", str(tmp_path / "out")), UNAVAILABLE,
                   "No such file", "guest-file-open")


def test_freeze_and_addresses(vms, running):
    Agent(vms.directory(running), honest)
    assert vms.good("freeze", running) == "2 file systems frozen\n"
    assert vms.good("thaw", running) == "2 file systems thawed\n"
    assert vms.good("addresses", running) == ("e?[31mth0 52:54:00:00:00:01 10.0.2.15/24\n"
                                              "e?[31mth0 52:54:00:00:00:01 fe80::1/64\ndummy - -\n")
    interfaces = json.loads(vms.good("addresses", running, "-o", "json"))
    assert interfaces[0]["ip-addresses"][1]["prefix"] == 64


def test_an_agent_that_says_nothing(vms, running):
    Agent(vms.directory(running), lambda agent, line: None)
    assert_mistake(vms.run("exec", running, "--", "true"), UNAVAILABLE, "does not answer",
                   "qemu-guest-agent")


def test_an_agent_that_lies(vms, running):
    def liar(agent, line):
        return honest(agent, line) if line.startswith(b"\xff") else b'{"return": {"pid": []}}\n'
    Agent(vms.directory(running), liar)
    assert_mistake(vms.run("exec", running, "--", "true"), UNAVAILABLE, "guest-exec")


def test_an_agent_that_talks_without_end(vms, running):
    """The answer is cut off long before the host's memory is."""
    def talker(agent, line):
        if line.startswith(b"\xff"):
            return honest(agent, line)
        return b"x" * (64 << 20)
    Agent(vms.directory(running), talker)
    assert_mistake(vms.run("exec", running, "--", "true"), UNAVAILABLE, "48 MiB")


@pytest.mark.parametrize("arguments, code, words", [
    (["exec", "button"], USAGE, ["atoll exec NAME"]),
    (["exec", "nobody", "--", "true"], NO_FILE, ["nobody"]),
    (["exec", "button", "--", "true"], CONFIG, ["not running"]),
    (["exec", "--timeout", "x", "button", "--", "true"], USAGE, ["x", "seconds"]),
    (["freeze"], USAGE, ["atoll freeze NAME"]),
    (["addresses", "button"], CONFIG, ["not running"]),
    (["cp", "a", "b"], USAGE, ["atoll cp FILE NAME:PATH"]),
    (["cp", "/nonexistent/file", "button:/x"], NO_FILE, ["/nonexistent/file"]),
    (["cp", "button:/x", "/tmp"], 73, ["/tmp"]),
    (["ssh"], USAGE, ["atoll ssh NAME"]),
    (["ssh", "button"], CONFIG, ["not running"]),
    (["ssh", "--user=-x", "button"], USAGE, ["-x"]),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_mistake(vms, button, arguments, code, words):
    assert_mistake(vms.run(*arguments), code, *words)


def test_mistakes_of_a_running_vm(vms, running):
    assert_mistake(vms.run("exec", running, "--", "true"), CONFIG, "agent")
    assert_mistake(vms.run("ssh", running), CONFIG, "net: user,forward=tcp:")
