"""The process that probes: bcc, the kernel, and where in the rings records lie."""
