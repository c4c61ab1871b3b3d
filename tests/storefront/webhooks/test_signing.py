"""The signature, byte for byte as the scheme has it."""

from __future__ import annotations

import pytest

from storefront.webhooks import signing

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_c2Vjb25kLXNlY3JldC1mb3ItdGVzdHM="
BODY = b'{"type":"order.updated"}'


def test_signature_is_that_of_the_contract():
    assert (
        signing.sign(SECRET, "msg_1", 1700000000, BODY)
        == "v1,E96PY2ugAXQPYkUlMd77rrr1xnnBJ4GIUO9uiw5rRHQ="
    )


def test_each_secret_signs_the_newest_first():
    headers = signing.headers([OTHER, SECRET], event_id="msg_1", timestamp=1700000000, body=BODY)

    new, old = headers.pop("webhook-signature").split(" ")
    assert headers == {"webhook-id": "msg_1", "webhook-timestamp": "1700000000"}
    assert old == "v1,E96PY2ugAXQPYkUlMd77rrr1xnnBJ4GIUO9uiw5rRHQ="
    assert new == signing.sign(OTHER, "msg_1", 1700000000, BODY)


@pytest.mark.parametrize("secret", ["", "whsec_"])
def test_nothing_is_signed_without_a_secret(secret):
    with pytest.raises(ValueError, match="no secret"):
        signing.headers([secret], event_id="msg_1", timestamp=1700000000, body=BODY)
