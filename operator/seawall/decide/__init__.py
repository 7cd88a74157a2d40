"""Deciding: from what was observed to what shall be, without touching anything."""
