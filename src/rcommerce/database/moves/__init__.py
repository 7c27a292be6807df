"""Moves a tenant from one shard to another while it sells.

    prepare  removes what an earlier attempt has left; creates a publication of the tenant's rows
    copy     PostgreSQL's logical replication copies every table
    catch up until the target is close behind
    fence    pauses writes (`tenant_placement.state = 'fenced'`) for a few seconds at most: a fence
             expires, so an interrupted move blocks nothing
    drain    until the writes in progress are done, and the target has the last of them
    verify   compares row counts and checksums of every table
    flip     one commit on the source: `state = 'left'`, with the new shard. Before it the tenant is
             there, after it on the target; nothing else decides.
    publish  the directory gets the new shard
    drop     deletes the old rows, once no request can be reading them

Every step can be repeated, so an interrupted move resumes; until the flip it can be reverted.
"""

from rcommerce.database.moves.mover import abort, move
from rcommerce.database.moves.plan import Move, MoveError, Progress

__all__ = ["Move", "MoveError", "Progress", "abort", "move"]
