"""The `lukewarm` command: thin verbs over the layers below."""
