"""What a serving pod can do under an SLO, and how many pods a demand needs: numpy only, no clock, no I/O."""
