"""Networks: the user's own, those of known libraries, and small ones that come with bitlens."""
