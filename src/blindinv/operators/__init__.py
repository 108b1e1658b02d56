"""Forward models y = A(x, phi) and the Fourier algebra that they share."""
