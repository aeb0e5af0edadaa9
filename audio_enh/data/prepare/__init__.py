"""From public speech and noise collections, as downloaded, to audio at one rate and a manifest."""

from audio_enh.data.prepare.convert import Report, prepare
from audio_enh.data.prepare.corpora import CORPORA, Corpus
from audio_enh.data.prepare.entries import Entry, Listing

__all__ = ["CORPORA", "Corpus", "Entry", "Listing", "Report", "prepare"]
