"""Resource limits of this process."""

import resource

SPARE_FILES = 500


def room_for(connections: int) -> bool:
    """Whether this process may have so many open files, raising the limit if possible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if soft < wanted <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft >= wanted
