"""Downloading servers that are not installed, from the registries of this machine."""
