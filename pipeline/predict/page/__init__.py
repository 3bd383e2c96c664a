"""`arpgnet predict --page`: one HTML file to look at a video with what was found in it.

`page` takes the table's rows as they come and writes the file, `columns` gathers their numbers. A
browser gets `page.html.j2`, `page.css` and the scripts: `state.js` what is chosen and when,
`film.js` the image, `plot.js` what is predicted in a task over time, `pose.js` the head's turns
below, `timeline.js` both of each face, `moment.js` the face then.
"""
