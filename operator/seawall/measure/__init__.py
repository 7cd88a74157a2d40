"""From counters to the truth about latency: pure, no clock, no I/O."""
