"""Training of the `demo` face pack on rendered stills: `python -m pipeline.demo.pack.train`."""
