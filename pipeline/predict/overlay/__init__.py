"""`arpgnet predict --overlay`: the video with what was found drawn on it.

`overlay` takes the table's rows as they come and draws frame after frame: `heat` what the network
attends to and `boxes` who is where on the image, `strip` what was predicted in the last
seconds below it, `marks` the text and the colors. `pipeline.video.encode` writes the file.
"""
