"""A command that needs none of the large libraries starts without them."""

import subprocess
import sys


def test_nothing_is_loaded_that_nobody_asked_for() -> None:
    """Neither the sandbox with its HTTP library nor what encrypts or traces messages."""
    code = """if True:
        import sys, worker.bootstrap, worker.cli.app
        worker.cli.app.application()
        from worker.contract import encryption
        from worker.telemetry import tracing
        encryption.media_type(b"eyJ9.a.b.c.d")
        assert tracing.spans({}, "one") is None
        idle = ("aiohttp", "worker.sandbox", "joserfc", "cryptography", "opentelemetry")
        print([name for name in sys.modules if name.startswith(idle)])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
