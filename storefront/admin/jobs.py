"""Jobs and the staff's log, in the admin's look: to read, and failed jobs to run again.

A job names a function of ours by its path: whoever could write one here could run anything. They
are installed by `manage.py install_schedules` only.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django_q import admin as q_admin
from django_q.models import Failure, OrmQ, Schedule, Success, Task
from unfold.admin import ModelAdmin
from unfold.decorators import action, display

from accounts.admin.reading import DayRangeFilter, ReadOnlyAdmin

for model in (Schedule, Success, Failure, OrmQ):
    admin.site.unregister(model)


@admin.register(Schedule)
class ScheduleAdmin(ReadOnlyAdmin, q_admin.ScheduleAdmin):
    """What runs by itself, and when next."""

    list_display = ("name", "func", "schedule_type", "next_run", "get_last_run", "get_success")
    list_display_links = ("name",)
    list_filter = ("schedule_type",)


@admin.register(OrmQ)
class QueueAdmin(ReadOnlyAdmin, q_admin.QueueAdmin):
    """What waits for a worker."""

    list_display = ("id", "name", "func", "lock", "task_id")
    list_filter = ()


class FinishedAdmin(ReadOnlyAdmin):
    """Finished jobs; their records may be deleted, their effects stay."""

    list_filter = ("func", ("started", DayRangeFilter))
    list_filter_submit = True

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(ModelAdmin.has_delete_permission(self, request, obj))


@admin.register(Success)
class SuccessAdmin(FinishedAdmin, q_admin.TaskAdmin):
    """Jobs that went well; the newest few hundred are kept."""

    list_display = ("name", "func", "started", "time_taken")
    actions = ()


@admin.register(Failure)
class FailureAdmin(FinishedAdmin, q_admin.FailAdmin):
    """Jobs that failed: why, and again."""

    list_display = ("name", "func", "started", "short_result")
    actions = ("run_again",)

    @action(description=_("Run again"), permissions=["act"])
    def run_again(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        number = queryset.count()
        q_admin.resubmit_task(self, request, queryset)
        told = ngettext("%(number)s job queued again.", "%(number)s jobs queued again.", number)
        messages.success(request, told % {"number": number})


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    """What staff did: each edit, and each action with its reason."""

    list_display = ("action_time", "user", "what", "object_link", "told")
    list_display_links = ("action_time",)
    list_filter = (("action_time", DayRangeFilter),)
    list_filter_submit = True
    list_select_related = ("user", "content_type")
    search_fields = ("user__email", "object_repr", "change_message")
    ordering = ("-pk",)
    fields = ("action_time", "user", "what", "object_link", "told")

    @display(description=_("kind"))
    def what(self, entry: LogEntry) -> str:
        return str(entry.content_type.name if entry.content_type else "–")

    @display(description=_("object"))
    def object_link(self, entry: LogEntry) -> str:
        if entry.is_deletion() or not (url := entry.get_admin_url()):
            return entry.object_repr
        return format_html('<a class="text-link" href="{}">{}</a>', url, entry.object_repr)

    @display(description=_("what was done"))
    def told(self, entry: LogEntry) -> str:
        return str(entry.get_change_message() or entry.get_action_flag_display())
