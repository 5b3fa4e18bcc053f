"""What computes: the device and the networks, found on disk, verified and opened once."""
