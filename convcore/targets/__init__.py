"""One kind of output each: what is planned, written and answered."""
