"""`make demo`: the main job once, for real.

Makes a Debian base, imports it, builds the application beside this file, pushes it to the bundled
registry, pulls it into an empty store, runs it with limits, talks HTTP to it, and commits what it
changed. Every step is verified and printed with its time. Nothing of it stays but the base's root
file system in build-output/, which the next run uses again; also when it is interrupted.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
BASE = PROJECT / "build-output" / "debian-bookworm.tar"
BASE_NAME = "demo/debian:bookworm"


class Failed(Exception):
    """A step did not do what it should."""


class Demo:
    def __init__(self, work: pathlib.Path) -> None:
        self.work = work
        self.started = time.monotonic()
        self.steps: list[tuple[str, float]] = []

    def imagekit(self, *arguments: str, root: str = "store", show: bool = False) -> str:
        command = [sys.executable, "-m", "imagekit", "--root", str(self.work / root), *arguments]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=None if show else subprocess.PIPE, text=True
        )
        if done.returncode != 0:
            sys.stderr.write(done.stderr or "")
            raise Failed(f"imagekit {' '.join(arguments)} exited with {done.returncode}")
        return done.stdout.strip() + ("" if show else f"\n{done.stderr.strip()}")

    @contextlib.contextmanager
    def step(self, title: str):
        print(f"\n== {title}", flush=True)
        started = time.monotonic()
        yield
        took = time.monotonic() - started
        self.steps.append((title, took))
        print(f"   {took:.2f} s", flush=True)

    def say(self, text: str) -> None:
        for line in text.strip().splitlines():
            print(f"   {line}", flush=True)

    def check(self, condition: bool, what: str) -> None:
        if not condition:
            raise Failed(what)
        self.say(f"verified: {what}")


def make_base(demo: Demo) -> None:
    with demo.step("a Debian root file system, from Debian's packages"):
        if BASE.exists():
            demo.say(f"{BASE.relative_to(PROJECT)} is there from an earlier run")
        else:
            BASE.parent.mkdir(exist_ok=True)
            part = BASE.with_name(f"{BASE.stem}.part.tar")
            try:
                subprocess.run(
                    ["mmdebstrap", "--quiet", "--variant=minbase", "bookworm", str(part)],
                    check=True,
                )
                part.rename(BASE)
            finally:
                part.unlink(missing_ok=True)
        demo.say(f"{BASE.stat().st_size / 1e6:.0f} MB")


def build(demo: Demo) -> None:
    context = demo.work / "context"
    shutil.copytree(HERE, context, ignore=shutil.ignore_patterns("run.py", "__pycache__"))
    with demo.step(f"imagekit import {BASE_NAME}"):
        demo.say(demo.imagekit("import", "-c", 'CMD ["bash"]', str(BASE), BASE_NAME))
    arguments = ("build", "--progress", "plain", "-t", "demo/app:1.0", str(context))
    with demo.step("imagekit build (nothing cached)"):
        log = demo.imagekit(*arguments)
        demo.say(
            "\n".join(line for line in log.splitlines() if " DONE " in line or "[" in line[:8])
        )
        demo.check("primes.c" in log and log.count("CACHED") <= 2, "every step ran")
    with demo.step("imagekit build again (all cached)"):
        log = demo.imagekit(*arguments)
        demo.check(" DONE " not in log, "no step ran")
    with demo.step("imagekit build after a change of app/server.py"):
        with (context / "app" / "server.py").open("a") as file:
            file.write("# changed\n")
        log = demo.imagekit(*arguments)
        ran = [line for line in log.splitlines() if "not cached:" in line]
        demo.say("\n".join(ran))
        demo.check("server.py changed" in log, "the miss is explained by the file's name")
        demo.check(len(ran) == 2, "only COPY app and what follows it ran")
    with demo.step("imagekit images, history"):
        demo.say(demo.imagekit("images"))
        demo.say(demo.imagekit("history", "demo/app:1.0"))


@contextlib.contextmanager
def registry(demo: Demo):
    command = [
        *(sys.executable, "-m", "imagekit", "registry", "serve"),
        *("--listen", "127.0.0.1:0", "--storage", str(demo.work / "registry")),
    ]
    log = demo.work / "registry.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file)
    try:
        line = first_line(log)
        if not line.startswith("listening on "):
            raise Failed(f"the registry did not start: {line!r}")
        yield line.removeprefix("listening on ").split()[0].removeprefix("http://")
    finally:
        process.terminate()
        process.wait()


def first_line(path: pathlib.Path) -> str:
    for _ in range(200):
        lines = path.read_text().splitlines(keepends=True)
        if lines and lines[0].endswith("\n"):
            return lines[0].strip()
        time.sleep(0.05)
    return "nothing was printed"


def move(demo: Demo, host: str) -> str:
    name = f"{host}/demo/app:1.0"
    with demo.step("imagekit push to the bundled registry"):
        demo.say(demo.imagekit("push", "demo/app:1.0", name).splitlines()[0])
    with demo.step("imagekit push again (everything is there)"):
        log = demo.imagekit("push", "demo/app:1.0", name)
        demo.check(" in " not in log, "no blob was sent twice")
    shutil.rmtree(demo.work / "store")
    with demo.step("imagekit pull into an empty store"):
        demo.say(demo.imagekit("pull", name).splitlines()[0])
        demo.say(demo.imagekit("images"))
    return name


def fetch(address: str, path: str) -> dict[str, object]:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as response:
        return json.load(response)


def wait_for(address: str) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            fetch(address, "/healthz")
            return
        time.sleep(0.1)
    raise Failed("the application did not answer within 10 s")


def run(demo: Demo, name: str) -> None:
    with demo.step("imagekit run -d with 128 MB of memory, half a CPU, a published port"):
        demo.imagekit(
            *("run", "-d", "--name", "web", "--memory", "128m", "--cpus", "0.5"),
            *("-p", "127.0.0.1::8000", name),
        )
        (container,) = json.loads(demo.imagekit("inspect", "web").strip())
        binding = container["NetworkSettings"]["Ports"]["8000/tcp"][0]
        address = f"{binding['HostIp']}:{binding['HostPort']}"
        wait_for(address)
        demo.say(demo.imagekit("ps"))
    with demo.step("HTTP"):
        first, second = fetch(address, "/"), fetch(address, "/")
        primes = fetch(address, "/primes?below=1000000")
        demo.say(json.dumps(first))
        demo.say(json.dumps(primes))
        demo.check(second["visits"] == 2 and first["uid"] == 900, "it counts visits, as user app")
        demo.check(primes["primes"] == 78498, "78498 primes below a million")
    with demo.step("imagekit exec, logs"):
        demo.check("900" in demo.imagekit("exec", "web", "id", "-u"), "exec runs as the same user")
        demo.check("listening on port 8000" in demo.imagekit("logs", "web"), "logs has its output")
    with demo.step("imagekit commit the running container"):
        demo.imagekit("commit", "-m", "two visits", "web", "demo/app:visited")
        demo.say(demo.imagekit("history", "demo/app:visited").splitlines()[1])
        found = demo.imagekit(
            *("run", "--rm", "--network", "none", "--entrypoint", "cat"),
            *("demo/app:visited", "/app/visits"),
        )
        demo.check(found.split()[0] == "2", "the new image holds the visits")
    with demo.step("imagekit stop"):
        demo.imagekit("stop", "web")
        (container,) = json.loads(demo.imagekit("inspect", "web").strip())
        demo.check(container["State"]["ExitCode"] == 0, "it ended by SIGTERM with exit code 0")
        demo.imagekit("rm", "web")


def remove_containers(demo: Demo) -> None:
    root = demo.work / "store"
    if root.exists():
        command = [sys.executable, "-m", "imagekit", "--root", str(root)]
        listed = subprocess.run([*command, "ps", "-aq"], capture_output=True, text=True)
        for container in listed.stdout.split():
            subprocess.run([*command, "rm", "-f", container], capture_output=True)


def interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    if os.geteuid() != 0:
        print("the demo needs root: it mounts, and limits what containers use", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, interrupted)
    with tempfile.TemporaryDirectory(prefix="imagekit-demo-") as directory:
        demo = Demo(pathlib.Path(directory))
        try:
            make_base(demo)
            build(demo)
            with registry(demo) as host:
                run(demo, move(demo, host))
        except Failed as error:
            print(f"demo failed: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\ninterrupted; cleaning up", file=sys.stderr)
            return 130
        finally:
            remove_containers(demo)
    print("\n== summary")
    for title, took in demo.steps:
        print(f"   {took:7.2f} s  {title}")
    print(f"   {time.monotonic() - demo.started:7.2f} s  in all; everything was verified")
    return 0


if __name__ == "__main__":
    sys.exit(main())
