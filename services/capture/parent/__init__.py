"""The process that has counters, spool and bus: batches out of what the child reads."""
