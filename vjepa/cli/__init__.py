"""The command `vjepa`: what there is (`models`), weights in and out (`checkpoint`), features of any video (`encode`)."""
