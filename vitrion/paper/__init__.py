"""The claims of the paper, and what a campaign says of them."""
