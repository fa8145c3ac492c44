"""One request contract and the servers that speak it."""
