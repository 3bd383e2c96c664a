"""From a video file to sampled JPEG frames; no wrong frame in silence.

`forecast` reads the packets' times, `sampling` chooses frames from them, and `survey`
decodes the file once with PyAV: it finds out which frames there are, when, and where the
file is damaged, while the chosen frames are made into images. Where the forecast was
wrong, or decord is asked for, `backends` read the file again from its beginning and hand
out the frames; decord only where its own list of frames agrees with the survey.
"""
