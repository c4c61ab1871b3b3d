"""What a customer sets for themselves, and the language of the page."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST
from django.views.i18n import set_language

from accounts.models import User
from storefront.forms import ProfileForm
from storefront.pages.access import CustomerRequest, for_customers


@never_cache
@for_customers
@require_http_methods(["GET", "HEAD", "POST"])
def profile(request: CustomerRequest) -> HttpResponse:
    """Name, language, currency and time zone."""
    data = request.POST if request.method == "POST" else None
    form = ProfileForm(data, instance=request.user)
    if form.is_valid():
        user = form.save()
        if user.language:
            translation.activate(user.language)
        messages.success(request, _("Your settings are saved."))
        return redirect("profile")
    if form.is_bound:
        # The header shows what is stored, not what was refused.
        request.user.refresh_from_db()
    return render(request, "profile.html", {"form": form})


@require_POST
def language(request: HttpRequest) -> HttpResponse:
    """Switch the language of the page; a customer's choice is kept with the account too."""
    response = set_language(request)
    code = request.POST.get("language", "")
    if isinstance(request.user, User) and code in dict(settings.LANGUAGES):
        User.objects.filter(pk=request.user.pk).update(language=code)
    return response
