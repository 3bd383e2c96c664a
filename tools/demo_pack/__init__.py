"""Training of the `demo` face pack on rendered stills: `python -m tools.demo_pack.train`."""
