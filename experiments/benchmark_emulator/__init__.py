"""What the compiled parts of the emulator's likelihood earn."""
