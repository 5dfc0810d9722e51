"""The embedded model server: TensorFlow Serving's contract on a laptop, in CI and in the smoke test before a release."""
