"""The exceptions a user is expected to read; raised anywhere, caught by the doors."""


class InputError(ValueError):
  """Input that cannot be used: a file, a field of a config, an argument.

  The message is one sentence that says what is wrong, where (file, line, field)
  and what would be right. `launch.py` prints it without a traceback and exits
  with status 1.
  """


class Stopped(Exception):
  """The work was asked to stop, and saved where it was."""
