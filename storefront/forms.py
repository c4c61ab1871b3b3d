"""The website's forms."""

from __future__ import annotations

from allauth.account.forms import SignupForm as BaseSignupForm


class SignupForm(BaseSignupForm):
    """Sign-up by e-mail address and password."""
