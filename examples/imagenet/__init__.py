"""The parts of train_imagenet.py."""
