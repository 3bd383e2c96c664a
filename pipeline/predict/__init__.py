"""`arpgnet predict`: a trained network on any video, through the code that the stages run.

`model` is the network with the settings of everything before it; `windows` says which frames are
looked at and which of them are classified together; `faces` gives every face of every frame an
identity; `features` makes the network's inputs of a face; `video` puts them together in one pass;
`output` writes the table, and `run` goes from video to video.
"""
