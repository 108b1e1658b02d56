"""Blur kernels: generators and geometry."""
