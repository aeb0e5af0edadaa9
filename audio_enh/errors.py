"""Errors that are the user's to mend."""

from pathlib import Path


class UserError(Exception):
    """A mistake the caller can mend: the message is one line that says what is wrong and how to mend it.

    The command line prints it to stderr and exits with code 2, without a traceback.
    """


class AudioFileError(UserError):
    """A file is missing, unreadable, truncated, or not audio."""


class CheckpointError(UserError):
    """A checkpoint is unknown, incomplete or does not fit its model."""


class DeviceError(UserError):
    """The compute device asked for is not there."""


class DependencyError(UserError):
    """A program or optional package is needed and not installed."""

    @classmethod
    def missing(cls, purpose: str, package: str, extra: str) -> "DependencyError":
        """The error for a package that is not installed.

        Args:
            purpose: what needs the package, as the subject of a sentence.
            package: its name.
            extra: the optional dependencies of this project that bring it.
        """
        return cls(f"{purpose} needs the package {package}: {install_command(extra)}")

    @classmethod
    def alone(cls, purpose: str, package: str) -> "DependencyError":
        """The error for a package that is not installed, and of which a part is used that needs nothing else.

        Args:
            purpose: what needs the package, as the subject of a sentence.
            package: its name.
        """
        return cls(f"{purpose} needs the package {package}: pip install --no-deps {package}")


def install_command(extra: str) -> str:
    """What to type to install the optional dependencies ``extra`` of this project, which is not on PyPI."""
    project = Path(__file__).resolve().parents[1]
    if (project / "pyproject.toml").is_file():  # an editable install, which knows where it came from
        return f"pip install -e '{project}[{extra}]'"
    return f"pip install '.[{extra}]' in the project's folder"
