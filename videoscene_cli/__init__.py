"""The command line: arguments, files and messages around the stages, nothing of the paper itself."""

__version__ = "0.2.0"
