"""Files of other people read safely, and our own written whole or not at all."""
