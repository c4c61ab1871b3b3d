"""What staff do beyond editing: one page an action, with a reason, logged with the change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts.models import User

REASON_LIMIT = 300


class ReasonForm(forms.Form):
    """Every action says why: the log and the ledger keep it."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=REASON_LIMIT,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=_("Kept for ever beside what you do here. The customer does not see it."),
    )


@dataclass(frozen=True)
class StaffAction:
    """One thing that staff can do to one object.

    `facts` tells what they should see before they decide. `do` makes the one domain call and
    returns what to tell afterwards; it raises ValidationError, with the text for staff, where the
    domain refuses.
    """

    title: str | Promise
    explanation: str | Promise
    do: Callable[[Any, User, dict[str, Any]], str]
    facts: Callable[[Any], Sequence[tuple[str | Promise, str]]]
    form: type[ReasonForm] = ReasonForm


class ActingAdmin(ModelAdmin):
    """An admin with actions of its own; see `act`."""

    def act(self, request: HttpRequest, object_id: str, action: StaffAction) -> HttpResponse:
        """Ask for the reason, then do it: change and log entry together, or neither."""
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            missing: HttpResponse = self._get_obj_does_not_exist_redirect(
                request, self.opts, object_id
            )
            return missing
        page = reverse(
            f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[object_id]
        )
        form = action.form(request.POST if request.method == "POST" else None)
        if form.is_valid():
            assert isinstance(request.user, User)
            try:
                with transaction.atomic():
                    told = action.do(obj, request.user, form.cleaned_data)
                    self.log_change(request, obj, f"{action.title}: {form.cleaned_data['reason']}")
            except ValidationError as refusal:
                form.add_error(None, refusal)
            else:
                messages.success(request, told)
                return HttpResponseRedirect(page)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": obj,
            "title": action.title,
            "action": action,
            "facts": action.facts(obj),
            "form": form,
            "page": page,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/staff_action.html", context)
