"""What is known of customers beside their id, and how a customer is forgotten."""
