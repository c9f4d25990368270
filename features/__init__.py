"""What is known about users and items at one instant."""
