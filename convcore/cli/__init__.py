"""The command line: it speaks and exits; everything else raises."""

from convcore.cli.running import run as run
