"""HTTP/1.1 for the gateway: connections, limits, bodies, and DynamoDB's protocol on top."""
