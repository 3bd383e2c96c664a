"""The landmark stage: the face's landmarks in every sampled frame."""
