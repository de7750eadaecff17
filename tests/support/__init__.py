"""What tests of several packages share: small models, golden tables, the peers' environment."""
