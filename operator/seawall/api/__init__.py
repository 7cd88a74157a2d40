"""The outside of Seawall as types: what users write, what the server enforces, what is reported."""
