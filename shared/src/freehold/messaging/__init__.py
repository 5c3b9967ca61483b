"""RabbitMQ: names, connections that come back, publishing with confirms."""

from freehold.messaging.decoder import take_any_bytes

take_any_bytes()
