"""The outside world behind the ports, one adapter a file."""
