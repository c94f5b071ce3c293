"""The routes, one file per group; each makes a router for a Serving."""
