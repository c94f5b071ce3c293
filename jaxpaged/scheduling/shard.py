"""One data shard: its rows, its pages per cache group and its prefix cache. A running request lives on one shard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxpaged.errors import InvariantError
from jaxpaged.kv.kind import PagePolicy
from jaxpaged.scheduling.arrays import IntArray, RowArray
from jaxpaged.scheduling.pages import PageAllocator
from jaxpaged.scheduling.prefix_cache import PrefixCache, PrefixHasher, PrefixHit
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.rows import Rows
from jaxpaged.scheduling.stats import PageUse, ShardStats, filled_slots


class Shard:
    """Owner of rows and pages. `hasher` is None when prefix caching is off; `draft_tokens`: by row.

    `parents` are the requests, by row, whose children wait for their prompt.
    """

    def __init__(
        self,
        index: int,
        rows: Rows,
        policies: Sequence[PagePolicy],
        num_pages: Sequence[int],
        hasher: PrefixHasher | None,
    ) -> None:
        self.index = index
        self.rows = rows
        self.policies = tuple(policies)
        self.page_size = policies[0].page_size
        self.allocators = tuple(PageAllocator(count) for count in num_pages)
        self.prefix = PrefixCache(self.allocators, self.policies)
        self.hasher = hasher
        self.draft_tokens: dict[int, IntArray] = {}
        self.parents: dict[int, Request] = {}
        self.forked_rows: list[int] = []  # occupied without a plan having admitted them yet
        self.stats = ShardStats()
        self.page_use = PageUse()

    @property
    def num_running(self) -> int:
        return len(self.rows)

    @property
    def num_promised(self) -> int:
        """Rows that children of running parents will take."""
        return sum([len(parent.children) for parent in self.parents.values()])

    @property
    def num_free(self) -> int:
        """Rows that waiting requests may take."""
        return max(len(self.rows.free) - self.num_promised, 0) if self.parents else len(self.rows.free)

    def count_queries(self, requests: Sequence[Request], hits: Sequence[PrefixHit]) -> None:
        """Count, of requests that start for the first time, how many tokens there are and how many are cached."""
        firsts = [
            (len(request.tokens), hit.num_pages)
            for request, hit in zip(requests, hits, strict=True)
            if not request.num_preemptions
        ]
        self.stats.prefix_queries += sum([tokens for tokens, _ in firsts])
        self.stats.prefix_hits += sum([pages for _, pages in firsts]) * self.page_size

    def vacate(self, rows: RowArray) -> None:
        """Release the rows and all their pages. Results of plans in flight for them will be dropped."""
        for table, end, allocator in zip(self.rows.tables, self.rows.end_page, self.allocators, strict=True):
            used = int(np.maximum.reduce(end[rows]))
            entries = table[rows, :used]
            # Backwards: the end of a prefix is of less use than its beginning, so it is evicted first.
            allocator.release(entries[entries != 0][::-1])
            table[rows, :used] = 0
        self.rows.vacate(rows)
        if self.draft_tokens or self.forked_rows or self.parents:
            for row in rows.tolist():
                self.draft_tokens.pop(row, None)
                self.parents.pop(row, None)
                if row in self.forked_rows:
                    self.forked_rows.remove(row)

    def preempt(self, row: int, now: float) -> Request:
        """Take a request off its row; it keeps what it has generated and will be computed again from its tokens."""
        request = self.rows.request(row)
        request.tokens, request.page_digests = self.rows.tokens(row), self.rows.page_digests(row)
        request.num_preemptions += 1
        request.events.append(("preempted", now))
        self.stats.preemptions += 1
        self.vacate(np.array([row], np.intp))
        request.row = 0
        return request

    def resume_point(self, row: int, tokens: int) -> int | None:
        """How many of a row's first `tokens` tokens, all computed, need not be computed again by whatever goes on from
        its pages: a fork, or the row itself when it is set back. None: pages that this takes have been let go."""
        planned, point = int(self.rows.planned_computed[row]), tokens
        while (lower := min(policy.resume_point(point, planned) for policy in self.policies)) < point:
            point = lower
        held = all(
            first[row] <= policy.first_page(point)
            for first, policy in zip(self.rows.first_page, self.policies, strict=True)
        )
        return point if held else None

    def fork(self, parent: int, child: Request, computed: int, now: float) -> None:
        """Start the child on the pages of the row `parent`, whose first `computed` tokens are the child's too.

        Needs a free row, and in `parent` every page that the child's next token sees: `computed` is a resume_point().
        """
        rows = self.rows
        row = int(rows.occupy([child], self.index, now)[0])
        rows.computed[row] = rows.planned_computed[row] = computed
        rows.published[row] = rows.published[parent]
        end = -(-computed // self.page_size)
        for group, allocator in enumerate(self.allocators):
            first = int(rows.first_page[group][parent])
            shared = rows.tables[group][parent, first:end]
            allocator.fork(shared, int(shared[-1]) if computed % self.page_size else 0)
            rows.tables[group][row, first:end] = shared
            rows.first_page[group][row], rows.end_page[group][row] = first, end
        self.forked_rows.append(row)

    def leave_parent(self, child: Request) -> None:
        """Forget a child that waits for the prompt of a parent, running here or not."""
        parent, child.parent = child.parent, None
        if parent is not None:
            parent.children = tuple(other for other in parent.children if other is not child)
            if not parent.children:
                self.parents.pop(parent.row, None)

    def fork_children(self, now: float) -> list[list[Request]]:
        """Fork the children of the parents whose prompts are computed when the plans given out so far are.

        A child computes the last token of the prompt again, for logits of its own; a beam that has been preempted
        computes the tokens in which it differs from the first one. Called when a plan has been
        assembled: the parent still holds every page that the token sees, and may be gone when the plan is committed.
        Returns, by parent, the children for which there was no row, or whose parent has let go the pages to go on from.
        """
        left = []
        for row, parent in list(self.parents.items()):
            if self.rows.planned_computed[row] <= parent.num_shared:
                continue
            children, start = parent.children, self.resume_point(row, parent.num_shared)
            room = 0 if start is None else len(self.rows.free)
            parent.children = ()
            del self.parents[row]
            for child in children[:room]:
                child.parent = None
                self.fork(row, child, start or 0, now)
            if children[room:]:
                left.append(list(children[room:]))
        return left

    def hold(self, name: str, row: int) -> None:
        """Keep the full pages of a row alive under a name."""
        full = int(self.rows.computed[row]) // self.page_size
        for table, first, allocator in zip(self.rows.tables, self.rows.first_page, self.allocators, strict=True):
            allocator.hold(name, table[row, first[row] : max(full, first[row])])

    def pin(self, name: str, hit: PrefixHit) -> None:
        """Keep the pages of a cached prefix under a name."""
        for allocator, pages in zip(self.allocators, hit.pages, strict=True):
            allocator.hold(name, pages)

    def release_hold(self, name: str) -> None:
        for allocator in self.allocators:
            allocator.release_hold(name)

    def forget_prefixes(self) -> None:
        """Empty the prefix cache. What runs now was computed in part before, so it will not be published either."""
        for allocator in self.allocators:
            allocator.forget_all()
        self.rows.published[self.rows.active] = np.iinfo(np.int32).max
        self.rows.hashed[:] = 0

    def sample_page_use(self) -> None:
        """Count the pages in use now, filled as they will be when the plans given out so far are done."""
        use, rows = self.page_use, self.rows
        active = np.flatnonzero(rows.active)
        for group, allocator in enumerate(self.allocators):
            first, end = rows.first_page[group][active], rows.end_page[group][active]
            logical, physical = int((end - first).sum()), allocator.num_in_tables
            use.logical += logical
            use.physical += physical
            if allocator.has_forks:
                use.filled += self._filled(group, active)
            else:  # what is shared are full pages
                slots = int(rows.planned_computed[active].sum()) - int(first.sum()) * self.page_size
                use.filled += slots - (logical - physical) * self.page_size
        use.samples += 1

    def _filled(self, group: int, active: RowArray) -> int:
        """Slots of distinct pages, where rows may share a page that they have filled to different degrees."""
        rows = self.rows
        first, end = rows.first_page[group][active], rows.end_page[group][active]
        entries = rows.table_index(active, first, end - first)
        owners, columns = np.divmod(entries, rows.table_width)
        fills = np.clip(rows.planned_computed[owners] - columns * self.page_size, 0, self.page_size)
        return filled_slots(rows.flat_tables[group][entries], fills)

    def check(self) -> None:
        """Raise InvariantError when rows, tables and pages disagree."""
        rows = self.rows
        active = np.flatnonzero(rows.active)
        for group, (allocator, policy) in enumerate(zip(self.allocators, self.policies, strict=True)):
            table, first, end = rows.tables[group], rows.first_page[group], rows.end_page[group]
            columns = np.arange(table.shape[1])
            live = (columns >= first[:, None]) & (columns < end[:, None]) & rows.active[:, None]
            if not np.array_equal(live, table != 0):
                raise InvariantError("page tables: an entry is missing or stale")
            if (end[active] * self.page_size < rows.planned_computed[active]).any():
                raise InvariantError("page tables: planned tokens have no page")
            if any(first[row] > policy.first_page(int(rows.planned_computed[row])) for row in active.tolist()):
                raise InvariantError("page tables: a page that the next token sees was let go")
            allocator.check(table[live])
        occupied = [row for row, request in enumerate(rows.requests) if request is not None]
        problems = {
            "active rows and requests differ": occupied != active.tolist(),
            "a row is lost or in two states": sorted(rows.free + occupied) != list(range(1, len(rows.requests))),
            "a request does not know its row": any(rows.request(row).row != row for row in occupied),
            "plans lag behind": (rows.planned_computed[active] < rows.computed[active]).any()
            or (rows.planned_tokens[active] < rows.num_tokens[active]).any(),
            "more is computed than known": (rows.computed[active] > rows.num_tokens[active]).any(),
            "a request is longer than its limit": (rows.num_tokens[active] >= rows.limit[active]).any(),
            "children wait for no prompt": any(
                rows.request(row) is not parent or not parent.children or rows.planned_computed[row] > parent.num_shared
                for row, parent in self.parents.items()
            ),
            "more pages are hashed than known": (rows.hashed > rows.num_tokens // self.page_size).any(),
            "a free row is not empty": rows.columns_in_use()[~rows.active].any(),
        }
        wrong = [problem for problem, found in problems.items() if found]
        if wrong:
            raise InvariantError(f"data shard {self.index}: " + "; ".join(wrong))
