"""What comes out is what went in, plus music: small inputs of every kind, built here, against their results."""

import pytest

pytest.register_assert_rewrite("tests.media.matrix.compare")
