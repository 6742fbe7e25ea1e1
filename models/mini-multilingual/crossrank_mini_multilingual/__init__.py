"""Where crossrank finds mini-multilingual."""
