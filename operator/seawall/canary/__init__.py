"""Whether a candidate is slower or wrong, with an error rate that holds at any number of looks. Pure."""
