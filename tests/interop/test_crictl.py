"""crictl, the people's tool of Kubernetes, drives tared: images, pods, containers, logs, figures, as one would by hand."""
import json
import os
import shutil
import socket
import subprocess
import time

import pytest

from conftest import BIN, program, stop_process

CRICTL = os.environ.get("CRICTL") or os.path.join(os.path.dirname(BIN), "critest", "crictl")
pytestmark = [
    pytest.mark.skipif(not os.access(CRICTL, os.X_OK), reason=f"no crictl: {CRICTL} is not built (make critest builds it)"),
    pytest.mark.skipif(not shutil.which("docker-registry") or not shutil.which("skopeo"), reason="needs docker-registry and skopeo"),
]


def wait_for(what, seconds=20):
    end = time.time() + seconds
    while time.time() < end:
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("did not happen in time")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def image(workdir, busybox_archive):
    """A busybox in a registry on loopback."""
    port = free_port()
    config = os.path.join(workdir, "registry.yml")
    with open(config, "w") as f:
        f.write(f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
                f"storage: {{filesystem: {{rootdirectory: {workdir}/registry}}}}\n")
    p = subprocess.Popen(["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ref = f"127.0.0.1:{port}/library/busybox:1"
    try:
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        subprocess.run(["skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", "--quiet", f"docker-archive:{busybox_archive}",
                        f"docker://{ref}"], check=True, capture_output=True, timeout=60)
        yield ref
    finally:
        stop_process(p)


class Crictl:
    def __init__(self, env):
        self.env, self.socket = env, os.path.join(env.base, "cri.sock")
        self.config = os.path.join(env.base, "crictl.yaml")
        with open(self.config, "w") as f:
            f.write(f"runtime-endpoint: unix://{self.socket}\nimage-endpoint: unix://{self.socket}\ntimeout: 30\n")
        self.log = open(os.path.join(env.base, "tared.log"), "w")
        self.daemon = env.popen("--listen", f"unix://{self.socket}", prog="tared", stderr=self.log)
        wait_for(lambda: os.path.exists(self.socket))

    def __call__(self, *args, check=True):
        r = subprocess.run([CRICTL, "-c", self.config, *args], capture_output=True, text=True, timeout=60)
        if check and r.returncode != 0:
            raise AssertionError(f"crictl {' '.join(args)}: exit {r.returncode}\n{r.stdout}\n{r.stderr}")
        return r if not check else r.stdout.strip()

    def json(self, *args):
        return json.loads(self(args[0], "-o", "json", *args[1:]))

    def write(self, name, value):
        path = os.path.join(self.env.base, name)
        with open(path, "w") as f:
            json.dump(value, f)
        return path

    def pod(self, name):
        return self.write(f"{name}.pod.json", {
            "metadata": {"name": name, "uid": f"uid-{name}", "namespace": "default", "attempt": 1}, "hostname": name,
            "log_directory": os.path.join(self.env.base, "logs"), "labels": {"app": name},
            "linux": {"security_context": {"namespace_options": {"network": 2}}}})

    def container(self, name, image, *command):
        return self.write(f"{name}.ctr.json", {
            "metadata": {"name": name, "attempt": 0}, "image": {"image": image}, "command": list(command),
            "log_path": f"{name}.log", "linux": {"resources": {"memory_limit_in_bytes": 64 << 20}}})


@pytest.fixture
def crictl(tare_env):
    os.makedirs(os.path.join(tare_env.base, "logs"))
    c = Crictl(tare_env)
    yield c
    c("rmp", "-fa", check=False)
    stop_process(c.daemon)
    c.log.close()


def test_images(crictl, image):
    assert "sha256:" in crictl("pull", image)
    listed = crictl.json("images")["images"]
    assert [i["repoTags"] for i in listed] == [[image]]
    assert listed[0]["id"].startswith("sha256:") and int(listed[0]["size"]) > 0
    inspected = json.loads(crictl("inspecti", image))
    assert inspected["status"]["id"] == listed[0]["id"] and inspected["status"]["repoDigests"]
    assert crictl("images", "-q") == listed[0]["id"]
    usage = json.loads(crictl("imagefsinfo"))
    assert int(usage["status"]["imageFilesystems"][0]["usedBytes"]["value"]) > 0
    assert image in crictl("rmi", image)
    assert crictl.json("images")["images"] == []
    assert crictl("rmi", image, check=False).returncode != 0
    assert "has no library/nosuch:1" in crictl("pull", image.replace("busybox:1", "nosuch:1"), check=False).stderr


def test_a_pod_by_hand(crictl, image):
    assert "RuntimeName:  tare" in crictl("version")
    info = json.loads(crictl("info"))
    assert {c["type"]: c["status"] for c in info["status"]["conditions"]}["RuntimeReady"] is True
    crictl("pull", image)
    pod_json = crictl.pod("p")
    pod = crictl("runp", pod_json)
    assert [p["id"] for p in crictl.json("pods", "--state", "ready", "--label", "app=p")["items"]] == [pod]
    inspected = json.loads(crictl("inspectp", pod))
    assert inspected["status"]["state"] == "SANDBOX_READY" and inspected["status"]["metadata"]["name"] == "p"

    ctr = crictl("create", pod, crictl.container("c", image, "sh", "-c", "echo out; echo err >&2; exec sleep 1000"), pod_json)
    assert json.loads(crictl("inspect", ctr))["status"]["state"] == "CONTAINER_CREATED"
    assert crictl("start", ctr) == ctr
    assert [(c["id"], c["podSandboxId"]) for c in crictl.json("ps")["containers"]] == [(ctr, pod)]
    assert crictl("exec", "-s", ctr, "hostname") != ""
    failed = crictl("exec", "-s", ctr, "sh", "-c", "echo bad >&2; exit 3", check=False)
    assert failed.returncode != 0 and "bad" in failed.stderr + failed.stdout and "3" in failed.stderr
    wait_for(lambda: "err" in crictl("logs", ctr, check=False).stderr)
    logs = crictl("logs", ctr, check=False)
    assert (logs.stdout, logs.stderr) == ("out\n", "err\n")
    status = json.loads(crictl("inspect", ctr))
    assert status["status"]["state"] == "CONTAINER_RUNNING" and status["status"]["image"]["image"] == image

    stats = crictl.json("stats", ctr)["stats"]
    assert [s["attributes"]["id"] for s in stats] == [ctr] and int(stats[0]["memory"]["workingSetBytes"]["value"]) > 0
    pods = crictl.json("statsp")["stats"]
    assert [s["attributes"]["id"] for s in pods] == [pod]
    crictl("update", "--memory", str(96 << 20), ctr)
    assert crictl("stop", "-t", "0", ctr) == ctr
    status = json.loads(crictl("inspect", ctr))["status"]
    assert status["state"] == "CONTAINER_EXITED" and status["exitCode"] == 137
    assert crictl("rm", ctr) == ctr
    assert crictl.json("ps", "-a")["containers"] == []
    assert pod in crictl("stopp", pod)
    assert json.loads(crictl("inspectp", pod))["status"]["state"] == "SANDBOX_NOTREADY"
    assert pod in crictl("rmp", pod)
    assert crictl.json("pods")["items"] == []


def test_run_and_remove_by_force(crictl, image):
    ctr = crictl("run", "--with-pull", crictl.container("c", image, "sleep", "1000"), crictl.pod("p"))
    assert crictl("rm", ctr, check=False).returncode != 0
    assert ctr in crictl("rm", "-f", ctr)
    crictl("rmp", "-fa")
    assert crictl.json("pods")["items"] == []


def test_refusals_are_clear(crictl, image):
    assert "not found" in crictl("inspectp", "f" * 64, check=False).stderr.lower()
    pod_json = crictl.pod("p")
    pod = crictl("runp", pod_json)
    r = crictl("create", "--no-pull", pod, crictl.container("c", image, "true"), pod_json, check=False)
    assert r.returncode != 0 and "busybox" in r.stderr
    crictl("pull", image)
    ctr = crictl("create", pod, crictl.container("d", image, "/nosuch"), pod_json, check=False)
    if ctr.returncode == 0:
        ctr = crictl("start", ctr.stdout.strip(), check=False)
    assert ctr.returncode != 0 and "/nosuch" in ctr.stderr
