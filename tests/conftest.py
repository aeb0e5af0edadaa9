"""What all tests need."""

import signal

# A test run started in the background of a script ignores Ctrl-C, and so would the programs it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
