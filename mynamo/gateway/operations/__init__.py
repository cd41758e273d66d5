"""The operations of DynamoDB's API, a file for each kind."""
