"""What the user types and reads: options, lists on stdin, messages, exit codes."""
