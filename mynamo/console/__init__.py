"""A web console for people who run mynamo: pages made on the server, with little script."""
