"""What every test starts from."""

from __future__ import annotations

import signal

# A job that a shell starts in the background ignores Ctrl-C, and so would every program the tests
# start to see how it takes one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
