"""RabbitMQ: names, connections that come back, publishing with confirms."""
