"""Downloads of the data sets that anybody may have, from their publishers."""
