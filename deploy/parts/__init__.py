"""The parts of `deploy/check`, one file each."""
