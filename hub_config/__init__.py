"""What the hub loads: federation.yaml as a whole, configuration, authenticator, pages, commands and supervisor."""
