"""The issuer: consumes code requests from Kafka, attaches codes, publishes the answers."""
