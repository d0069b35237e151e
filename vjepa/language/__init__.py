"""Video into language: the encoder's tokens through a projector into a frozen language model that answers questions."""
