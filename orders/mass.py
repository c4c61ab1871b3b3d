"""Many orders at once: lines read, priced, and placed one by one by a job.

A text has one order a line: `service | link | quantity`, the columns being the fields of the
service's type in the order of the table of order types. Or its first row names the columns
("service,link,quantity,comments"), as spreadsheets write them.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Count, QuerySet, Sum
from django.db.models.functions import Now
from django_q.tasks import async_task

from accounts.ledger import InsufficientFunds, LedgerError
from accounts.models import User, Wallet
from accounts.money import ZERO
from catalog import listing, pricing
from catalog.listing import CatalogError, Listed, ServiceNotFound, ServiceUnavailable
from catalog.models import SameLink
from catalog.order_types import LIST_FIELDS, ORDER_TYPES
from orders import checkout, queueing, refusals
from orders.checkout import InvalidOrder, LinkBusy, OrderError
from orders.models import LineState, MassLine, MassOrder, Source
from orders.requests import (
    ORDER_FIELDS,
    InvalidRequest,
    OrderDraft,
    read_request,
    read_service_id,
)

MAX_LINES = 1000
MAX_BYTES = 500_000
# Between the entries of a list (comments, usernames) that stands in one column.
LIST_MARK = "\\"
SERVICE = "service"
# Seconds that one run of the job places lines for; then it makes room for others.
BUDGET = 20.0
# Blank rows count for the numbers that people see; the column of numbers holds no more.
_MAX_ROWS = 30_000
_DELIMITERS = "|\t;,"
_SERVICE_NAMES = frozenset({SERVICE, "service_id"})


class Fault(StrEnum):
    """Why a whole text cannot be read."""

    EMPTY = "empty"
    TOO_LONG = "too_long"  # params: limit (kilobytes)
    TOO_MANY = "too_many"  # params: limit (lines)
    NOT_TEXT = "not_text"  # a file that is not UTF-8
    QUOTES = "quotes"  # params: line
    UNKNOWN_COLUMN = "unknown_column"  # params: column
    DOUBLE_COLUMN = "double_column"  # params: column


class MassError(Exception):
    """Base of what a mass order is refused for. Nothing has changed."""


class TableRefused(MassError):
    """The text as a whole cannot be read; `fault` and `params` say why."""

    def __init__(self, fault: Fault, **params: object) -> None:
        super().__init__(f"{fault} {params}")
        self.fault, self.params = fault, params


class ColumnsWrong(MassError):
    """A line has more or fewer columns than its service takes; `columns` are those."""

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__(", ".join(columns))
        self.columns = tuple(columns)


@dataclass(frozen=True)
class Given:
    """One line as it was written. `number` counts as an editor, or a spreadsheet, does."""

    number: int
    text: str
    service: str
    cells: tuple[str, ...]  # after the service
    names: tuple[str, ...] | None  # of the cells, where the first row told them


@dataclass(frozen=True)
class Checked:
    """One line and what would become of it: a charge, or a problem (of the table of errors).

    `values` are those of an `OrderDraft`. `same_as` is the number of an earlier line with the
    same service and link; `waits`: another order of this link is under way.
    """

    given: Given
    listed: Listed | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    link: str = ""
    quantity: int = 0
    charge: Decimal | None = None
    problem: Exception | None = None
    same_as: int | None = None
    waits: bool = False

    @property
    def target(self) -> str:
        """Where the order goes, as it was written: the link, or of types without one the name."""
        return self.values.get("link") or self.values.get("username", "")

    @property
    def queues(self) -> bool:
        """Whether orders of its service wait for others of their link."""
        return bool(self.listed and self.listed.service.same_link == SameLink.QUEUE)


@dataclass(frozen=True)
class Plan:
    """What a text would order, in one currency; nothing is reserved.

    `missing` is what the wallet lacks for all good lines together.
    """

    currency: str
    lines: tuple[Checked, ...]
    total: Decimal
    balance: Decimal
    missing: Decimal

    @property
    def good(self) -> list[Checked]:
        """The lines that would be ordered."""
        return [line for line in self.lines if line.charge is not None]

    @property
    def bad(self) -> list[Checked]:
        """The lines that have a problem."""
        return [line for line in self.lines if line.charge is None]


@dataclass(frozen=True)
class Agreed:
    """One line as the customer confirms it. `charge` is the most that it may cost."""

    number: int
    service_id: str
    values: Mapping[str, str]
    charge: Decimal


@dataclass(frozen=True)
class Progress:
    """How far a mass order is: lines by what became of them, and what was charged in all."""

    waiting: int
    placed: int
    refused: int
    charged: Decimal

    @property
    def total(self) -> int:
        """All lines."""
        return self.waiting + self.placed + self.refused

    @property
    def done(self) -> int:
        """The lines that something became of."""
        return self.placed + self.refused


# --- reading ------------------------------------------------------------------------------------


def decode(content: bytes) -> str:
    """The text of an uploaded file. Raises TableRefused for anything but UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableRefused(Fault.NOT_TEXT) from error


def read(text: str) -> list[Given]:
    """The lines of a text, blank ones left out. Raises TableRefused."""
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise TableRefused(Fault.TOO_LONG, limit=MAX_BYTES // 1000)
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    first = next((line for line in text.split("\n") if line.strip()), None)
    if first is None:
        raise TableRefused(Fault.EMPTY)
    marks = [mark for mark in _DELIMITERS if mark in first] or ["|"]
    header_mark = next((mark for mark in marks if _is_header(_split(first, mark))), None)
    mark = header_mark or marks[0]
    # Without a header nobody thought of a spreadsheet: a quotation mark is part of a comment.
    rows = _table(text, mark) if header_mark or mark != "|" else _plain(text)
    names: tuple[str, ...] | None = None
    lines: list[Given] = []
    for number, cells in enumerate(rows, start=1):
        if number > _MAX_ROWS or (cells and len(lines) == MAX_LINES):
            raise TableRefused(Fault.TOO_MANY, limit=MAX_LINES)
        if not cells:
            continue
        if header_mark and names is None:
            names = _columns(cells)
        else:
            lines.append(_given(number, cells, names))
    if not lines:
        raise TableRefused(Fault.EMPTY)
    return lines


def columns_of(service_type: str) -> tuple[str, ...]:
    """The columns that a line for a service of this type must have, in their order; what is
    optional comes after them."""
    return (SERVICE, *ORDER_TYPES[service_type].fields)


def _plain(text: str) -> Iterator[list[str]]:
    for line in text.split("\n"):
        yield _cells(line.split("|"))


def _table(text: str, mark: str) -> Iterator[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    try:
        for row in reader:
            yield _cells(row)
    except csv.Error as error:
        raise TableRefused(Fault.QUOTES, line=reader.line_num) from error


def _cells(row: list[str]) -> list[str]:
    """Without the empty cells at the end, which spreadsheets add."""
    cells = [cell.strip() for cell in row]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _split(line: str, mark: str) -> list[str]:
    return _cells([cell.strip().strip('"') for cell in line.split(mark)])


def _is_header(cells: Sequence[str]) -> bool:
    return len(cells) > 1 and any(_column(cell) in _SERVICE_NAMES for cell in cells)


def _column(cell: str) -> str:
    return cell.strip().lower().replace(" ", "_").replace("-", "_")


def _columns(header: Sequence[str]) -> tuple[str, ...]:
    names = [_column(cell) for cell in header]
    names = [SERVICE if name in _SERVICE_NAMES else name for name in names]
    for name, cell in zip(names, header, strict=True):
        if name != SERVICE and name not in ORDER_FIELDS:
            raise TableRefused(Fault.UNKNOWN_COLUMN, column=cell[:40])
        if names.count(name) > 1:
            raise TableRefused(Fault.DOUBLE_COLUMN, column=name)
    return tuple(names)


def _given(number: int, cells: list[str], names: tuple[str, ...] | None) -> Given:
    shown = " | ".join(cells).replace("\n", f" {LIST_MARK} ")
    if names is None:
        return Given(number, shown, cells[0].lstrip("#"), tuple(cells[1:]), None)
    at = names.index(SERVICE)
    service = cells[at].lstrip("#") if at < len(cells) else ""
    others = tuple(cell for place, cell in enumerate(cells) if place != at)
    return Given(number, shown, service, others, tuple(n for n in names if n != SERVICE))


def _values(given: Given, service_type: str) -> dict[str, str]:
    """The line's cells by the names of its service's fields. Raises ColumnsWrong."""
    row, names = ORDER_TYPES[service_type], given.names
    if names is None:
        names = (*row.fields, *row.optional)
        if len(given.cells) < len(row.fields):
            raise ColumnsWrong((SERVICE, *row.fields))
    if len(given.cells) > len(names):
        raise ColumnsWrong((SERVICE, *names))
    return {
        name: cell.replace(LIST_MARK, "\n") if name in LIST_FIELDS else cell
        for name, cell in zip(names, given.cells, strict=False)
        if cell
    }


# --- the preview --------------------------------------------------------------------------------


def plan(*, customer: User, currency: str, text: str) -> Plan:
    """What the text would order, line by line. Writes nothing; raises TableRefused.

    The number of queries does not depend on the number of lines.
    """
    given = read(text)
    ids = {number for line in given if (number := _service_id(line)) is not None}
    services = listing.find_many(ids, currency=currency)
    lines: list[Checked] = []
    seen: dict[tuple[int, str], int] = {}
    for line in given:
        checked = _check(line, services)
        if checked.listed and checked.link:
            same_as = seen.setdefault((checked.listed.service.pk, checked.link), line.number)
            if same_as != line.number:
                checked = _repeated(checked, same_as)
        lines.append(checked)
    lines = _with_taken(lines, by=customer)
    total = sum((line.charge for line in lines if line.charge is not None), ZERO)
    wallet = Wallet.objects.filter(user=customer, currency=currency).first()
    balance = wallet.balance if wallet else ZERO
    return Plan(currency, tuple(lines), total, balance, max(total - balance, ZERO))


def _service_id(given: Given) -> int | None:
    try:
        return read_service_id(given.service)
    except InvalidRequest:
        return None


def _check(
    given: Given, services: Mapping[int, Listed | ServiceNotFound | ServiceUnavailable]
) -> Checked:
    try:
        listed = services[read_service_id(given.service)]
        if isinstance(listed, CatalogError):
            return Checked(given, problem=listed)
        values = _values(given, listed.service.type)
        request = read_request(OrderDraft(given.service, values), listed.service)
    except InvalidRequest as error:
        return Checked(given, problem=InvalidOrder(error.problems))
    except ColumnsWrong as error:
        return Checked(given, problem=error)
    quote = pricing.quote_at(listed.price, request.quantity)
    return Checked(given, listed, values, request.link_key, request.quantity, quote.charge)


def _repeated(line: Checked, same_as: int) -> Checked:
    line = replace(line, same_as=same_as)
    if line.listed and line.listed.service.same_link == SameLink.REFUSE:
        return replace(line, charge=None, problem=LinkBusy())
    return line


def _with_taken(lines: Sequence[Checked], *, by: User) -> list[Checked]:
    """With what is known of earlier orders of the same links, whoever made them; one query."""
    links = {link for line in lines if (link := _queues_on(line))}
    taken = queueing.taken(links, by=by) if links else set()
    return [_busy(line) if _queues_on(line) in taken else line for line in lines]


def _queues_on(line: Checked) -> tuple[int, str] | None:
    if line.listed is None or not line.link or line.listed.service.same_link == SameLink.OFF:
        return None
    return line.listed.service.pk, line.link


def _busy(line: Checked) -> Checked:
    if line.listed and line.listed.service.same_link == SameLink.REFUSE:
        return replace(line, charge=None, problem=LinkBusy())
    return replace(line, waits=True)


# --- confirming ---------------------------------------------------------------------------------


def confirm(*, customer: User, currency: str, uuid: UUID, lines: Sequence[Agreed]) -> MassOrder:
    """Keep the lines and queue the job that places them, once per `uuid`.

    Nothing is charged here: each line is charged when it is placed. Raises TableRefused without
    lines, and InsufficientFunds where the wallet does not hold enough for all of them; then
    nothing has changed.
    """
    if existing := MassOrder.objects.filter(uuid=uuid, customer=customer).first():
        return existing
    if not lines:
        raise TableRefused(Fault.EMPTY)
    total = sum((line.charge for line in lines), ZERO)
    wallet = Wallet.objects.filter(user=customer, currency=currency).first()
    balance = wallet.balance if wallet else ZERO
    if total > balance:
        raise InsufficientFunds(required=total, available=balance, currency=currency)
    try:
        with transaction.atomic():
            mass = MassOrder.objects.create(uuid=uuid, customer=customer, currency=currency)
            MassLine.objects.bulk_create(
                MassLine(
                    mass=mass,
                    number=line.number,
                    service_id_given=line.service_id,
                    values=dict(line.values),
                    agreed=line.charge,
                )
                for line in lines
            )
            # The job is a row of the same transaction: no lines without it.
            async_task("orders.tasks.place_mass_order", mass.pk, q_options={"save": False})
    except IntegrityError:
        # Confirmed twice at once: the other one came first.
        if existing := MassOrder.objects.filter(uuid=uuid, customer=customer).first():
            return existing
        raise
    return mass


def of(customer: User) -> QuerySet[MassOrder]:
    """The customer's mass orders, newest first."""
    return MassOrder.objects.filter(customer=customer)


def progress(mass: MassOrder) -> Progress:
    """How far it is; one query."""
    counts = {
        state: (lines, charged or ZERO)
        for state, lines, charged in mass.lines.order_by()
        .values_list("state")
        .annotate(Count("pk"), Sum("order__charge"))
    }
    return Progress(
        waiting=counts.get(LineState.WAITING, (0, ZERO))[0],
        placed=counts.get(LineState.PLACED, (0, ZERO))[0],
        refused=counts.get(LineState.REFUSED, (0, ZERO))[0],
        charged=counts.get(LineState.PLACED, (0, ZERO))[1],
    )


# --- placing ------------------------------------------------------------------------------------


def place(mass_id: int) -> bool:
    """Place the lines of a confirmed mass order that are still waiting, for BUDGET seconds.

    Returns whether lines are left. Each line is one order or one refusal, however often this
    runs, at the same time too, and wherever it is killed. A line that is refused, for lack of
    money say, leaves the others alone. A suspended customer's lines wait.
    """
    open_ones = MassOrder.objects.filter(finished_at=None, customer__is_active=True)
    mass = open_ones.select_related("customer").filter(pk=mass_id).first()
    if mass is None:
        return False
    until = time.monotonic() + BUDGET
    waiting = mass.lines.filter(state=LineState.WAITING)
    for pk in list(waiting.values_list("pk", flat=True)):
        if time.monotonic() > until:
            return True
        _place_line(mass, pk)
    if waiting.exists():
        return True
    MassOrder.objects.filter(pk=mass.pk, finished_at=None).update(finished_at=Now())
    return False


@transaction.atomic
def _place_line(mass: MassOrder, pk: int) -> None:
    # The order and what its line says are one transaction; whoever holds the line's row places it.
    line = (
        MassLine.objects.select_for_update(no_key=True)
        .filter(pk=pk, state=LineState.WAITING)
        .first()
    )
    if line is None:
        return
    try:
        placed = checkout.place_order(
            customer=mass.customer,
            currency=mass.currency,
            draft=OrderDraft(line.service_id_given, line.values),
            source=Source.WEB,
            idempotency_key=f"mass:{mass.uuid}:{line.number}",
            at_most=line.agreed,
        )
    except (OrderError, CatalogError, LedgerError) as refused:
        line.state, line.problem = LineState.REFUSED, refusals.keep(refused)
    else:
        line.state, line.order = LineState.PLACED, placed.order
    line.save(update_fields=["state", "problem", "order"])


def refusal(line: MassLine) -> Exception:
    """The exception that a refused line was refused with, for the table of errors to put into
    the reader's words."""
    return refusals.read(line.problem)
