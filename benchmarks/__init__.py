"""Speed, one command: `make bench`."""
