"""The steps of a move, in order; see the package."""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString

import psycopg
from psycopg.types.json import Jsonb

from rcommerce.database import migrate
from rcommerce.database.moves import replication, sides, tables
from rcommerce.database.moves.plan import Move, MoveError, Progress
from rcommerce.database.moves.tables import Sums, Sync

CLOSE_BYTES = 256 * 1024  # how close the target must be before writes pause
FENCES = 5  # how often the pause is tried
FENCE_MARGIN_S = 0.5
REPLICA_WAIT_S = 0.3
POLL_S = 0.01
LOCK: LiteralString = "select pg_advisory_xact_lock(uuid_hash_extended(%s, 7262))"


class _Expired(Exception):
    """The pause was over before the step was finished: writes go on, and it is tried again."""


def move(what: Move) -> Progress:
    """Moves a tenant, or resumes an interrupted move. Raises MoveError.

    After Ctrl-C the tenant stays where it sells; the same call resumes later.
    """
    with contextlib.ExitStack() as stack:
        control = stack.enter_context(sides.connect(what.control))
        sides.alone(control, what.tenant)
        source_name, epoch = _begin(control, what)
        found = Progress("prepare", source_name, what.target)
        if source_name != what.target:
            source = stack.enter_context(sides.connect(what.databases[source_name]))
            target = stack.enter_context(sides.connect(what.databases[what.target]))
            _Mover(what, found, control, source, target, epoch).run()
        return found


def abort(what: Move) -> None:
    """Reverts a move that has not flipped yet. Raises MoveError."""
    with contextlib.ExitStack() as stack:
        control = stack.enter_context(sides.connect(what.control))
        sides.alone(control, what.tenant)
        row = control.execute(
            "select source, target from tenant_move where tenant_id = %s", (what.tenant,)
        ).fetchone()
        if row is None:
            raise MoveError("no move of this tenant is under way")
        source_name, target_name = str(row[0]), str(row[1])
        source = stack.enter_context(sides.connect(what.databases[source_name]))
        if sides.state(source, what.tenant)[0] == "left":
            raise MoveError("the tenant has moved already: let the move finish, then move it back")
        target = stack.enter_context(sides.connect(what.databases[target_name]))
        sides.unfence(source, what.tenant)
        sides.withdraw(source, target, what.tenant)
        control.execute("delete from tenant_move where tenant_id = %s", (what.tenant,))


def _begin(control: Sync, what: Move) -> tuple[str, int]:
    """The tenant's shard and its epoch there; records the move."""
    if what.target not in what.databases:
        known = ", ".join(sorted(what.databases))
        raise MoveError(f"there is no shard {what.target}; there are: {known}")
    row = control.execute(
        "select shard, epoch from tenant_directory where tenant_id = %s", (what.tenant,)
    ).fetchone()
    if row is None:
        raise MoveError("the tenant has no place yet: run “rcommerce db upgrade”")
    source, epoch = str(row[0]), int(str(row[1]))
    under_way = control.execute(
        "select source, target from tenant_move where tenant_id = %s", (what.tenant,)
    ).fetchone()
    if under_way is not None:
        if under_way[1] != what.target:
            raise MoveError(
                f"a move to {under_way[1]} is under way: go on with --to {under_way[1]},"
                " or take it back with --abort"
            )
        # After the flip the directory may name the target already, while the remaining steps are to
        # be done.
        if source == what.target:
            return str(under_way[0]), epoch - 1
        return source, epoch
    if source == what.target:
        return source, epoch
    if source not in what.databases:
        raise MoveError(f"the tenant lives on {source}, which the settings do not name")
    control.execute(
        "insert into tenant_move (tenant_id, source, target, phase) values (%s, %s, %s, 'prepare')",
        (what.tenant, source, what.target),
    )
    return source, epoch


class _Mover:
    def __init__(
        self,
        what: Move,
        progress: Progress,
        control: Sync,
        source: Sync,
        target: Sync,
        epoch: int,
    ) -> None:
        self._what = what
        self._tenant = what.tenant
        self._progress = progress
        self._control = control
        self._source = source
        self._target = target
        self._epoch = epoch
        self._begun = time.monotonic()
        self._tables = tables.owned(source)

    def run(self) -> None:
        state, moved_to, _ = sides.state(self._source, self._tenant)
        if state != "left":
            self._require_able()
            self._copy()
            self._catch_up()
            self._rehearse()
            self._cut_over()
        elif moved_to != self._what.target:
            raise MoveError(f"the tenant has moved on to {moved_to}: start again")
        self._publish()
        self._drop()
        self._phase("done")

    # The steps -----------------------------------------------------------------------------

    def _require_able(self) -> None:
        """Raises MoveError for whatever would stop the move half way."""
        wal_level = sides.value(self._source, "show wal_level")
        if wal_level != "logical":
            raise MoveError(
                f"{self._progress.source} has wal_level = {wal_level}; it must be logical:"
                " alter system set wal_level = logical, and restart it"
            )
        if not sides.value(
            self._source,
            "select rolreplication or rolsuper from pg_roles where rolname = current_user",
        ):
            raise MoveError(
                f"the role on {self._progress.source} may not replicate:"
                " alter role … replication, as a superuser"
            )
        if not sides.value(
            self._target,
            "select rolsuper or (to_regrole('pg_create_subscription') is not null"
            " and pg_has_role(current_user, to_regrole('pg_create_subscription'), 'member'))"
            " from pg_roles where rolname = current_user",
        ):
            raise MoveError(
                f"the role on {self._what.target} may not subscribe:"
                " grant pg_create_subscription to …, as a superuser"
            )
        revisions = {
            name: migrate.revision(self._what.databases[name])
            for name in (self._progress.source, self._what.target)
        }
        if len(set(revisions.values())) > 1:
            raise MoveError(f"the shards differ in their revision: {revisions}; run db upgrade")

    def _copy(self) -> None:
        """Copies every table; continues a copy that was begun."""
        if not replication.is_subscribed(self._target, self._tenant):
            self._phase("prepare")
            sides.withdraw(self._source, self._target, self._tenant)
            self._welcome()
            replication.publish(self._source, self._tenant)
            with sides.untimed(self._source):
                replication.subscribe(
                    self._target, self._tenant, self._what.databases[self._progress.source]
                )
                self._await_copy()
        else:
            self._await_copy()

    def _await_copy(self) -> None:
        self._phase("copy")
        progress = self._progress
        counts = {each: tables.count(self._source, each, self._tenant) for each in self._tables}
        progress.of_rows = sum(counts.values())
        begun = time.monotonic()
        sizes: dict[str, int] = {}  # bytes of each table, as far as known
        while True:
            found = replication.copied(self._target, self._tenant)
            progress.tables, progress.of_tables = len(found.ready), found.of_tables
            rows = sum(counts.get(table, 0) for table in found.ready)
            for table, (done, size) in found.under_way.items():
                if table not in found.ready:
                    rows += min(done, counts.get(table, 0))
                sizes[table] = max(size, sizes.get(table, 0))
            progress.rows = max(progress.rows, min(rows, progress.of_rows))
            progress.bytes = sum(sizes.values())
            took_s = time.monotonic() - begun
            left = progress.of_rows - progress.rows
            progress.eta_s = took_s * left / progress.rows if progress.rows else None
            self._tell()
            if found.of_tables and progress.tables == found.of_tables:
                progress.rows, progress.eta_s = progress.of_rows, None
                return
            time.sleep(0.05)

    def _catch_up(self) -> None:
        self._phase("catch up")
        while True:
            end = replication.position(self._source)
            lag = max(0, end - replication.confirmed(self._source, self._tenant))
            self._progress.lag_bytes = lag
            self._tell()
            if lag <= CLOSE_BYTES:
                return
            replication.copied(self._target, self._tenant)  # raises if it was given up
            time.sleep(0.05)

    def _rehearse(self) -> None:
        """Verifies once while writes go on: this measures whether it fits into the pause, and
        brings the data into memory. The checksums may differ now."""
        self._phase("rehearse")
        begun = time.monotonic()
        self._both_sums()
        took_s = time.monotonic() - begun
        self._progress.timings["rehearsal"] = round(took_s, 3)
        if took_s + FENCE_MARGIN_S > self._what.max_pause_s:
            raise MoveError(
                f"to verify takes {took_s:.1f} s, too long for a pause of at most"
                f" {self._what.max_pause_s:g} s: go on with --max-pause"
                f" {took_s + 2 * FENCE_MARGIN_S:.0f}, or take it back with --abort"
            )

    def _cut_over(self) -> None:
        """Fence, drain, verify, flip: repeated until they fit into the pause."""
        for attempt in range(1, FENCES + 1):
            self._progress.attempts = attempt
            try:
                self._try_to_cut_over()
            except _Expired:
                self._phase("catch up")
                time.sleep(1)
                self._catch_up()
            else:
                return
        raise MoveError(
            f"the pause of {self._what.max_pause_s:g} s was too short {FENCES} times: writes may be"
            " long (an import?), or the servers busy; try again later or with --max-pause"
        )

    def _try_to_cut_over(self) -> None:
        begun = time.monotonic()
        until = begun + self._what.max_pause_s
        try:
            self._fence()
            self._drain(until)
            self._verify()
            self._flip()
        except BaseException:
            # Also on Ctrl-C: writes go on at once. (After a kill -9 the fence expires.)
            sides.unfence(self._source, self._tenant)
            raise
        self._progress.pause_s = round(time.monotonic() - begun, 3)

    def _fence(self) -> None:
        self._phase("fence")
        self._source.execute(
            "update tenant_placement set state = 'fenced',"
            " fenced_until = clock_timestamp() + make_interval(secs => %s)"
            " where tenant_id = %s and epoch = %s and state in ('active', 'fenced')",
            (self._what.max_pause_s, self._tenant, self._epoch),
        )

    def _drain(self, until: float) -> None:
        """Waits for the writes in progress, then for the target to have them all."""
        self._phase("drain")
        begun = time.monotonic()
        try:
            with self._source.transaction():
                sides.limit_lock(self._source, until - time.monotonic())
                self._source.execute(LOCK, (self._tenant,))
        except psycopg.errors.LockNotAvailable:
            raise _Expired from None
        self._progress.timings["drain"] = round(time.monotonic() - begun, 3)
        end = replication.mark(self._source)
        begun = time.monotonic()
        while (at := replication.confirmed(self._source, self._tenant)) < end:
            self._progress.lag_bytes = end - at
            if time.monotonic() > until - FENCE_MARGIN_S:
                raise _Expired
            time.sleep(POLL_S)
        self._progress.lag_bytes = 0
        self._progress.timings["catch_up"] = round(time.monotonic() - begun, 3)

    def _verify(self) -> None:
        self._phase("verify")
        begun = time.monotonic()
        here, there = self._both_sums()
        self._progress.timings["verify"] = round(time.monotonic() - begun, 3)
        different = [table for table in self._tables if here[table] != there[table]]
        if different:
            raise MoveError(f"the rows differ in {', '.join(different)}: the tenant was not moved")
        self._progress.verified_rows = sum(each.rows for each in here.values())

    def _both_sums(self) -> tuple[dict[str, Sums], dict[str, Sums]]:
        def of(connection: Sync) -> dict[str, Sums]:
            return {each: tables.sums(connection, each, self._tenant) for each in self._tables}

        with ThreadPoolExecutor(2) as pool:
            here, there = pool.map(of, (self._source, self._target))
        return here, there

    def _flip(self) -> None:
        """The switch: one commit on the source."""
        self._phase("flip")
        self._target.execute(
            "insert into tenant_placement (tenant_id, epoch, state) values (%(tenant)s, %(epoch)s,"
            " 'active') on conflict (tenant_id) do update set epoch = excluded.epoch,"
            " state = 'active', fenced_until = null, moved_to = null",
            {"tenant": self._tenant, "epoch": self._epoch + 1},
        )
        self._await_replicas()
        with self._source.transaction():
            # Under the lock: a write that began when the fence had expired is seen, or sees this.
            sides.limit_lock(self._source, 1.0)
            self._source.execute(LOCK, (self._tenant,))
            done = self._source.execute(
                "update tenant_placement set state = 'left', moved_to = %s, fenced_until = null"
                " where tenant_id = %s and epoch = %s and state = 'fenced'"
                " and fenced_until > clock_timestamp()",
                (self._what.target, self._tenant, self._epoch),
            )
            if done.rowcount == 0:
                raise _Expired

    def _await_replicas(self) -> None:
        """Waits until the target's replicas have the tenant. One that is far behind is out of
        rotation, and not waited for."""
        end = replication.mark(self._target)
        until = time.monotonic() + REPLICA_WAIT_S
        for dsn in self._what.replicas:
            with contextlib.suppress(psycopg.OperationalError), sides.connect(dsn) as replica:
                while time.monotonic() < until:
                    at = sides.value(
                        replica, "select (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint"
                    )
                    if at is None or int(str(at)) >= end:
                        break
                    time.sleep(POLL_S)

    def _publish(self) -> None:
        self._phase("publish")
        self._control.execute(
            "update tenant_directory set shard = %s, epoch = %s, changed_at = now()"
            " where tenant_id = %s and epoch <= %s",
            (self._what.target, self._epoch + 1, self._tenant, self._epoch),
        )

    def _drop(self) -> None:
        """Deletes the old rows, after ending the replication, which would pass the deletion on."""
        self._phase("drop")
        replication.stop(self._target, self._tenant)
        replication.unpublish(self._source, self._tenant)
        until = time.monotonic() + self._what.drop_after_s
        while (left_s := until - time.monotonic()) > 0:
            self._progress.eta_s = left_s
            self._tell()
            time.sleep(min(0.5, left_s))
        self._progress.eta_s = None
        for table in reversed(self._tables):
            self._progress.dropped_rows += tables.drop(self._source, table, self._tenant)
            self._tell()
        self._control.execute("delete from tenant_move where tenant_id = %s", (self._tenant,))

    # Helpers --------------------------------------------------------------------------------

    def _welcome(self) -> None:
        """The rows on the new shard that the tenant's rows refer to."""
        row = self._control.execute(
            "select slug, name, currency from tenant where id = %s", (self._tenant,)
        ).fetchone()
        assert row is not None  # noqa: S101 - the directory refers to it
        self._target.execute(
            "insert into tenant (id, slug, name, currency) values (%s, %s, %s, %s)"
            " on conflict (id) do nothing",
            (self._tenant, *row),
        )

    def _phase(self, name: str) -> None:
        self._progress.phase = name
        self._control.execute(
            "update tenant_move set phase = %s, detail = %s, updated_at = now()"
            " where tenant_id = %s",
            (name, Jsonb({"rows": self._progress.of_rows}), self._tenant),
        )
        self._tell()

    def _tell(self) -> None:
        self._progress.seconds = round(time.monotonic() - self._begun, 3)
        self._what.tell(self._progress)
