from helpers.training_fixtures import one_thread, separable  # noqa: F401
