"""What is deployed: image, compose file, monitoring, and the checks of them."""
