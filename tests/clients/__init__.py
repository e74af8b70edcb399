"""What the providers' official clients see of our guests, compared with what the guests' own status says."""
