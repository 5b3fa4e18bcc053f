"""The results of commands on disk, and the manifests that say how they were made."""
