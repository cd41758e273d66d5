"""IAM policies: from their JSON to whether a request is allowed. It knows nothing of requests."""
