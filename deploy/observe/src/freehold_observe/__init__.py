"""What Freehold is watched with, made of code: references, and dashboards for Grafana."""
