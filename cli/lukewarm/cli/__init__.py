"""The `lukewarm` command: thin verbs over the layers below."""

INTERRUPTED = "interrupted; run the same command again to go on"
