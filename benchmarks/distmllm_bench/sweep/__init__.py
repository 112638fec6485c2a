"""Sweeps: scenarios x policies x seeds, each result kept under a key of all that it hangs on."""
