"""The command `vjepa`: what there is (`models`), weights in and out (`checkpoint`), features of videos (`encode`)."""
