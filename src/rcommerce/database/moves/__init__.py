"""Moves a tenant from one shard to another while it sells.

    prepare  what an earlier try has left is cleared; a publication of the tenant's rows alone
    copy     PostgreSQL's logical replication copies every table
    catch up until the target is close behind
    fence    writes wait from here on (`tenant_placement.state = 'fenced'`, for a few seconds at the
             most: a fence runs out by itself, so a move that dies leaves nothing closed)
    drain    until the writes that had begun are over, and the target has the last of them
    verify   row counts and checksums of every table, on both sides
    flip     one commit on the shard that is left: `state = 'left'`, with the new address. Before
             it the tenant lives there, after it here; nothing else decides.
    publish  the directory learns the new address
    drop     the old rows, once nobody can be reading them any more

Every step can be done again, so a move goes on where it was cut off; until the flip it can be taken
back.
"""

from rcommerce.database.moves.mover import abort, move
from rcommerce.database.moves.plan import Move, MoveError, Progress

__all__ = ["Move", "MoveError", "Progress", "abort", "move"]
