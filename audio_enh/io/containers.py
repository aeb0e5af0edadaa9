"""Which containers there are: one table of what is read, what is written, and what a read-only one becomes.

Reading goes by content; a name only says which files of a folder are recordings, and how an output is written.
"""

from __future__ import annotations

#: Extension to libsndfile's major format, for writing.
SOUNDFILE_FORMATS: dict[str, str] = {
    ".wav": "WAV",
    ".wave": "WAV",
    ".bwf": "WAV",
    ".amb": "WAV",
    ".rf64": "RF64",
    ".bw64": "RF64",
    ".w64": "W64",
    ".flac": "FLAC",
    ".ogg": "OGG",
    ".oga": "OGG",
    ".opus": "OGG",
    ".mp3": "MP3",
    ".aif": "AIFF",
    ".aiff": "AIFF",
    ".aifc": "AIFF",
    ".au": "AU",
    ".snd": "AU",
    ".caf": "CAF",
    ".voc": "VOC",
    ".sph": "NIST",
    ".nist": "NIST",
    ".sf": "IRCAM",
    ".ircam": "IRCAM",
    ".avr": "AVR",
    ".pvf": "PVF",
    ".paf": "PAF",
    ".svx": "SVX",
    ".8svx": "SVX",
}

#: Extension to ffmpeg's muxer, for writing what libsndfile cannot.
FFMPEG_MUXERS: dict[str, str] = {
    ".m4a": "ipod",
    ".m4b": "ipod",
    ".m4r": "ipod",
    ".aac": "adts",
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".ismv": "mp4",
    ".isma": "mp4",
    ".psp": "mp4",
    ".f4v": "mp4",
    ".mov": "mov",
    ".qt": "mov",
    ".qta": "mov",
    ".3gp": "3gp",
    ".3gpp": "3gp",
    ".3g2": "3g2",
    ".mkv": "matroska",
    ".mk3d": "matroska",
    ".mka": "matroska",
    ".webm": "webm",
    ".weba": "webm",
    ".avi": "avi",
    ".divx": "avi",
    ".flv": "flv",
    ".ts": "mpegts",
    ".m2t": "mpegts",
    ".mts": "mpegts",
    ".m2ts": "mpegts",
    ".mpg": "mpeg",
    ".mpeg": "mpeg",
    ".vob": "vob",
    ".ogv": "ogg",
    ".ogm": "ogg",
    ".wma": "asf",
    ".wmv": "asf",
    ".asf": "asf",
    ".ac3": "ac3",
    ".eac3": "eac3",
    ".mp2": "mp2",
    ".m2a": "mp2",
    ".tta": "tta",
    ".wv": "wv",
}

#: The same for FLAC in Ogg: what else these extensions hold is written by libsndfile.
OGG_MUXERS: dict[str, str] = {".ogg": "ogg", ".oga": "ogg"}

#: Extensions that are read, but that nothing here can write, and what an output gets instead: FLAC for lossless
#: sound, AAC in MP4 for lossy, WAV where the sound is plain samples, Matroska and QuickTime for films.
READ_ONLY: dict[str, str] = {
    ".ape": ".flac",
    ".apl": ".flac",
    ".mac": ".flac",
    ".tak": ".flac",
    ".shn": ".flac",
    ".mlp": ".flac",
    ".thd": ".flac",
    ".dsf": ".flac",
    ".dff": ".flac",
    ".wsd": ".flac",
    ".dts": ".m4a",
    ".dtshd": ".m4a",
    ".amr": ".m4a",
    ".awb": ".m4a",
    ".gsm": ".m4a",
    ".spx": ".m4a",
    ".g722": ".m4a",
    ".722": ".m4a",
    ".g723_1": ".m4a",
    ".tco": ".m4a",
    ".rco": ".m4a",
    ".dss": ".m4a",
    ".qcp": ".m4a",
    ".ra": ".m4a",
    ".mpc": ".m4a",
    ".oma": ".m4a",
    ".omg": ".m4a",
    ".aa3": ".m4a",
    ".aea": ".m4a",
    ".vqf": ".m4a",
    ".vql": ".m4a",
    ".vqe": ".m4a",
    ".sbc": ".m4a",
    ".msbc": ".m4a",
    ".aa": ".m4a",
    ".mpa": ".mp3",
    ".mpga": ".mp3",
    ".fap": ".wav",
    ".sds": ".wav",
    ".rm": ".mkv",
    ".rmvb": ".mkv",
    ".wtv": ".mkv",
    ".nut": ".mkv",
    ".dav": ".mkv",
    ".ty": ".mkv",
    ".ty+": ".mkv",
    ".mxf": ".mov",
    ".dv": ".mov",
    ".dif": ".mov",
}

#: Extensions that mark a file as audio (or video with sound) when a folder is searched.
AUDIO_EXTENSIONS: frozenset[str] = frozenset({*SOUNDFILE_FORMATS, *FFMPEG_MUXERS, *READ_ONLY})

#: ffmpeg's demuxers that may be used: recordings, and none that opens other files or addresses (playlists,
#: concatenations, image sequences, scripts).
DEMUXERS = (
    "aa,aac,ac3,aea,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,avr,caf,dhav,dsf,dss,dts,dtshd,dv,eac3,epaf,f32le,"
    "ffmetadata,flac,flv,g722,g723_1,gsm,iff,ircam,kux,live_flv,loas,matroska,mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,mxf,"
    "nistsphere,nut,ogg,oma,pvf,qcp,rm,sbc,sds,shn,sln,sox,tak,truehd,tta,ty,voc,vqf,w64,wav,wsd,wtv,wv,xwma"
)


def writable_suffix(suffix: str) -> str:
    """The extension of an output whose input has ``suffix`` (with its dot, in any case): mostly the same."""
    return READ_ONLY.get(suffix.lower(), suffix)
