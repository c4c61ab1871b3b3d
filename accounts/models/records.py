"""Alerts for staff, and jobs that have begun and not ended."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Alert(models.Model):
    """Something that staff must look at; one open row per code and subject."""

    code = models.CharField(_("code"), max_length=40)
    subject = models.CharField(_("subject"), max_length=60, help_text="provider:1, order:42")
    message = models.TextField(_("message"))
    times = models.PositiveIntegerField(_("times"), default=1)
    created_at = models.DateTimeField(_("since"), auto_now_add=True)
    last_at = models.DateTimeField(_("last time"), auto_now=True)
    resolved_at = models.DateTimeField(_("resolved"), null=True, blank=True)

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        ordering = ["-last_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["code", "subject"],
                condition=Q(resolved_at=None),
                name="alert_open_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.code} · {self.subject}"


class JobAttempt(models.Model):
    """A job that has begun and not ended: it runs, or its worker was killed (accounts/jobs.py)."""

    job = models.CharField(_("job"), max_length=100, unique=True)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    last_at = models.DateTimeField(_("last time"), db_default=Now())

    class Meta:
        verbose_name = _("unfinished job")
        verbose_name_plural = _("unfinished jobs")
        ordering = ["-last_at", "-pk"]

    def __str__(self) -> str:
        return self.job
