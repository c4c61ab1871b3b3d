"""What people paste is understood, or nothing is claimed."""

import pytest

from catalog.models import Network
from storefront.links import Understood, understand


@pytest.mark.parametrize(
    ("link", "understood"),
    [
        ("https://www.instagram.com/aicha.store/", Understood(Network.INSTAGRAM, "@aicha.store")),
        ("instagram.com/aicha.store?igsh=x", Understood(Network.INSTAGRAM, "@aicha.store")),
        ("https://instagram.com/p/Cabc123/", Understood(Network.INSTAGRAM)),
        ("https://www.tiktok.com/@aicha", Understood(Network.TIKTOK, "@aicha")),
        ("https://www.tiktok.com/@aicha/video/73", Understood(Network.TIKTOK)),
        ("https://youtu.be/dQw4w9WgXcQ", Understood(Network.YOUTUBE)),
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ", Understood(Network.YOUTUBE)),
        ("https://x.com/aicha", Understood(Network.TWITTER, "@aicha")),
        ("https://t.me/aicha", Understood(Network.TELEGRAM, "@aicha")),
        ("https://open.spotify.com/track/1", Understood(Network.SPOTIFY)),
        ("https://instagram.com/", Understood(Network.INSTAGRAM)),
    ],
)
def test_known_links_are_understood(link, understood):
    assert understand(link) == understood


@pytest.mark.parametrize(
    "link",
    ["", "aicha", "https://example.com/instagram.com", "https://notinstagram.com/a", "http://[::"],
)
def test_nothing_is_claimed_of_other_links(link):
    assert understand(link) is None


def test_words_name_the_profile():
    assert understand("https://instagram.com/aicha").words == "Instagram, profile @aicha"
