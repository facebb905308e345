"""Which representation is best for these labels, from the training images alone, and how surely."""
