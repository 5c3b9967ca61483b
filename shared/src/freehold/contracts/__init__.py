"""What goes over the wire: requests, answers, messages and problem types."""
