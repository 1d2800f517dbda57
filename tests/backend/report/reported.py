"""What tests of reports share."""

MARKUP = "<script>alert(1)</script> | `x` *y* & <b>"
"""The name of an experiment."""
