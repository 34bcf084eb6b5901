"""Every Python process that a test starts imports this first (its folder is on PYTHONPATH) and is cut off as well."""

from tests.network import block

block()
