import pytest

pytest.register_assert_rewrite("support.engine_compare")
