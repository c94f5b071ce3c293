"""The HTTP server below the routes: sockets, headers, bodies, keys, deadlines, logs. It knows no model."""
