"""What mixtures and damage draw from: folders of recordings, packed audio, rooms."""
