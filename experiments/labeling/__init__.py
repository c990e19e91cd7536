"""Labels a folder of images: the server, its page, the session, and the process that trains."""
