"""Live audio: devices, the threads between them, and the virtual microphone. See `Session`."""
