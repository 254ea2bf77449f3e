"""`paraclip generate --ray-workers`: Ray Data distributes the captions, the usual client asks."""
