"""The kinds of option values that have a small language of their own."""

from imagekit.cli import parsing
from imagekit.cli.declare import Kind

SIZE = Kind("size", parsing.parse_size)
SWAP = Kind("size", parsing.parse_swap)
DURATION = Kind("duration", parsing.parse_duration)
CPUS = Kind("number", parsing.parse_cpus)
PAIR = Kind("key=value", parsing.parse_pair)
LABEL = Kind("key=value", parsing.parse_label)
FIELDS = Kind("fields", parsing.parse_fields)
MOUNT = Kind("mount", parsing.parse_mount)
PUBLISH = Kind("port", parsing.expand_ports)
ADD_HOST = Kind("name:address", parsing.parse_add_host)
