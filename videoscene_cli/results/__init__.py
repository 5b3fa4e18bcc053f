"""What a command leaves on disk, and the manifest that says how it was made."""
