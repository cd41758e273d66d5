"""What requests may look like: shapes, types and constraints, with AWS's messages."""
