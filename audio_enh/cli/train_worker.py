"""What Lightning starts once per further GPU of this machine, with the overrides of the run."""

import sys

from audio_enh.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
