"""DynamoDB's expressions: parsed once, evaluated on items in stored form."""
