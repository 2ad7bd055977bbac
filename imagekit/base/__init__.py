"""What every room stands on: errors, streams, atomic files, descriptors, events, clock."""
