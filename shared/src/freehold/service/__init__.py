"""What every service is made of: settings, logs, problems, health, metrics and the server."""
