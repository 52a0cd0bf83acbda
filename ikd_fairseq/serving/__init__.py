"""A trained model at the place where it is used: plain sentences in, plain translations out."""
