"""``audio-enh web``: enhancement in a browser, on this machine and without the internet."""
