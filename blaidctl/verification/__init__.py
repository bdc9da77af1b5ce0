"""The four verifications: what blaidctl claims about the numbers, shown with the installed program on both engines."""
