"""Rights: what a request touches, and whether its sender's policies allow that."""
