"""DynamoDB's API over HTTP: any AWS SDK can talk to it."""
