"""Errors that are the user's to mend."""


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
