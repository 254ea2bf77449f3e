"""`paraclip generate --engine ray`: Ray Data distributes the captions, the usual client asks."""
