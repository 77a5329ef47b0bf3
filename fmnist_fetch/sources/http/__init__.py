"""An HTTP mirror as a source: requests, redirects, ranges, and sockets with a limit for each stage."""
