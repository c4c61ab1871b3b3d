"""Links in the forms in which people paste them: what they lead to, which are the same, and which
contradict a service."""

from __future__ import annotations

import pytest
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from catalog import links
from catalog.links import KEY_LIMIT, Link, LinkMismatch
from catalog.models import Category, LinkTarget, Network, Service
from catalog.order_types import ServiceType
from catalog.sandbox.menu import SHORTEST, menu

N, PROFILE, POST, GROUP = Network, LinkTarget.PROFILE, LinkTarget.POST, LinkTarget.GROUP

# (network, what it leads to, key without the network, the forms of it)
FORMS: list[tuple[Network, LinkTarget | None, str, list[str]]] = [
    (
        N.INSTAGRAM,
        PROFILE,
        "@aicha.store",
        [
            "https://www.instagram.com/aicha.store/",
            "http://instagram.com/aicha.store",
            "instagram.com/aicha.store?igsh=MzRlODBiNWFlZA==",
            "www.instagram.com/aicha.store/?utm_source=qr&igshid=x",
            "HTTPS://WWW.INSTAGRAM.COM/Aicha.Store/",
            "https://m.instagram.com/aicha.store/?hl=fr",
            "https://www.instagram.com/@aicha.store",
            "https://www.instagram.com/_u/aicha.store/",
            "https://www.instagram.com/aicha.store/reels/",
            "https://www.instagram.com/aicha.store/tagged/?__d=1",
            "//instagram.com/aicha.store",
            "https://ig.me/m/aicha.store",
            "instagr.am/aicha.store",
        ],
    ),
    (
        N.INSTAGRAM,
        POST,
        "post:DAbC-1_xYz",
        [
            "https://www.instagram.com/p/DAbC-1_xYz/",
            "https://www.instagram.com/p/DAbC-1_xYz/?img_index=3&igsh=abc",
            "instagram.com/reel/DAbC-1_xYz",
            "https://www.instagram.com/reels/DAbC-1_xYz/?utm_source=ig_web_copy_link",
            "https://instagr.am/p/DAbC-1_xYz",
            "https://www.instagram.com/tv/DAbC-1_xYz/",
            "https://www.instagram.com/aicha.store/p/DAbC-1_xYz/",
            "https://www.instagram.com/aicha.store/reel/DAbC-1_xYz/",
        ],
    ),
    (N.INSTAGRAM, POST, "post:share:BAxyz", ["https://www.instagram.com/share/reel/BAxyz"]),
    (N.INSTAGRAM, None, "/share/BAxyz", ["https://www.instagram.com/share/BAxyz/"]),
    (N.INSTAGRAM, None, "/", ["https://www.instagram.com/", "instagram.com"]),
    (
        N.INSTAGRAM,
        None,
        "/stories/aicha/334",
        ["https://www.instagram.com/stories/aicha/334/?igsh=x"],
    ),
    (N.INSTAGRAM, None, "/reels/audio/77", ["https://www.instagram.com/reels/audio/77/"]),
    (
        N.TIKTOK,
        PROFILE,
        "@aicha",
        [
            "https://www.tiktok.com/@aicha",
            "tiktok.com/@Aicha?lang=en",
            "https://m.tiktok.com/@aicha/?_t=8abc&_r=1",
            "https://www.tiktok.com/@aicha?is_from_webapp=1&sender_device=pc",
            "https://www.tiktok.com/aicha",
        ],
    ),
    (
        N.TIKTOK,
        POST,
        "post:7300000000000000001",
        [
            "https://www.tiktok.com/@aicha/video/7300000000000000001",
            "https://www.tiktok.com/@aicha/video/7300000000000000001?is_copy_url=1",
            "https://www.tiktok.com/@other/photo/7300000000000000001",
            "https://m.tiktok.com/v/7300000000000000001.html",
            "https://www.tiktok.com/embed/v2/7300000000000000001",
        ],
    ),
    (
        N.TIKTOK,
        None,
        "short:ZMabcdef",
        [
            "https://vm.tiktok.com/ZMabcdef/",
            "https://vt.tiktok.com/ZMabcdef",
            "https://www.tiktok.com/t/ZMabcdef/",
        ],
    ),
    (N.TIKTOK, None, "/@aicha/live", ["https://www.tiktok.com/@aicha/live"]),
    (N.TIKTOK, None, "/share/user/66", ["https://www.tiktok.com/share/user/66"]),
    (
        N.YOUTUBE,
        POST,
        "post:dQw4w9WgXcQ",
        [
            "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
            "https://youtu.be/dQw4w9WgXcQ?si=AbCdEf",
            "youtu.be/dQw4w9WgXcQ",
            "https://m.youtube.com/watch?v=dQw4w9WgXcQ&feature=share&t=42s",
            "https://music.youtube.com/watch?v=dQw4w9WgXcQ&list=RD",
            "https://www.youtube.com/watch?app=desktop&v=dQw4w9WgXcQ&ab_channel=A",
            "https://youtube.com/shorts/dQw4w9WgXcQ?feature=share",
            "https://www.youtube.com/live/dQw4w9WgXcQ",
            "https://www.youtube-nocookie.com/embed/dQw4w9WgXcQ",
        ],
    ),
    (
        N.YOUTUBE,
        PROFILE,
        "@aicha",
        [
            "https://www.youtube.com/@Aicha",
            "youtube.com/@aicha/videos",
            "https://m.youtube.com/@aicha?si=x",
            "https://www.youtube.com/c/aicha",
            "https://www.youtube.com/user/aicha/featured",
            "https://www.youtube.com/aicha",
        ],
    ),
    (
        N.YOUTUBE,
        PROFILE,
        "channel:UCabcDEF",
        ["https://www.youtube.com/channel/UCabcDEF", "youtube.com/channel/UCabcDEF/about"],
    ),
    (N.YOUTUBE, None, "/playlist?list=PL1", ["https://www.youtube.com/playlist?list=PL1&si=x"]),
    (N.YOUTUBE, None, "/watch", ["https://www.youtube.com/watch"]),
    (
        N.FACEBOOK,
        PROFILE,
        "@aicha.store",
        [
            "https://www.facebook.com/aicha.store",
            "https://m.facebook.com/Aicha.Store/?mibextid=ZbWKwL",
            "fb.com/aicha.store",
            "https://web.facebook.com/aicha.store/about",
            "https://mbasic.facebook.com/aicha.store?_rdr",
            "https://fr-fr.facebook.com/pg/aicha.store/",
        ],
    ),
    (
        N.FACEBOOK,
        PROFILE,
        "id:100012345678",
        [
            "https://www.facebook.com/profile.php?id=100012345678&mibextid=x",
            "https://www.facebook.com/people/Aicha-Store/100012345678/",
            "https://www.facebook.com/p/Aicha-Store-100012345678/",
            "https://www.facebook.com/pages/Aicha/100012345678",
        ],
    ),
    (
        N.FACEBOOK,
        POST,
        "post:5551112223",
        [
            "https://www.facebook.com/aicha.store/posts/5551112223",
            "https://www.facebook.com/aicha.store/posts/a-title/5551112223/?__tn__=x",
            "https://m.facebook.com/story.php?story_fbid=5551112223&id=4",
            "https://www.facebook.com/permalink.php?story_fbid=5551112223&id=4",
            "https://www.facebook.com/photo/?fbid=5551112223&set=a.1",
            "https://www.facebook.com/aicha.store/videos/5551112223/",
            "https://www.facebook.com/watch/?v=5551112223",
            "https://www.facebook.com/reel/5551112223?fs=e",
            "https://www.facebook.com/groups/44/posts/5551112223/",
            "https://www.facebook.com/groups/44/permalink/5551112223",
            "https://www.facebook.com/groups/44/?multi_permalinks=5551112223",
        ],
    ),
    (N.FACEBOOK, POST, "post:watch:aBc", ["https://fb.watch/aBc/"]),
    (N.FACEBOOK, POST, "post:share:1aBc", ["https://www.facebook.com/share/v/1aBc/?mibextid=x"]),
    (N.FACEBOOK, None, "/share/1aBc", ["https://www.facebook.com/share/1aBc/"]),
    (N.FACEBOOK, GROUP, "group:44", ["https://www.facebook.com/groups/44/?ref=share"]),
    (N.FACEBOOK, None, "/events/9", ["https://www.facebook.com/events/9"]),
    (
        N.TWITTER,
        PROFILE,
        "@aicha",
        [
            "https://twitter.com/Aicha",
            "https://x.com/aicha?s=21&t=abc",
            "mobile.twitter.com/aicha",
            "X.com/@aicha",
            "https://x.com/aicha/with_replies",
            "https://twitter.com/intent/follow?screen_name=aicha",
        ],
    ),
    (
        N.TWITTER,
        POST,
        "post:1700000000000000001",
        [
            "https://twitter.com/aicha/status/1700000000000000001?s=20",
            "https://x.com/Aicha/status/1700000000000000001/photo/1",
            "x.com/i/status/1700000000000000001",
            "https://x.com/i/web/status/1700000000000000001",
            "https://mobile.twitter.com/aicha/statuses/1700000000000000001",
        ],
    ),
    (N.TWITTER, GROUP, "group:15", ["https://x.com/i/communities/15"]),
    (N.TWITTER, None, "/hashtag/x", ["https://x.com/hashtag/x"]),
    (
        N.TELEGRAM,
        PROFILE,
        "@aicha",
        [
            "https://t.me/Aicha",
            "t.me/aicha",
            "https://t.me/s/aicha",
            "https://telegram.me/aicha",
            "https://aicha.t.me",
            "https://t.me/aicha?start=abc",
        ],
    ),
    (
        N.TELEGRAM,
        POST,
        "post:aicha/12",
        [
            "https://t.me/aicha/12",
            "https://t.me/s/Aicha/12?single",
            "https://t.me/aicha/3/12",
            "https://telegram.me/aicha/12?comment=5",
        ],
    ),
    (N.TELEGRAM, POST, "post:c/100/12", ["https://t.me/c/100/12"]),
    (
        N.TELEGRAM,
        GROUP,
        "group:AbCd_ef",
        ["https://t.me/+AbCd_ef", "https://t.me/joinchat/AbCd_ef", "t.me/%2BAbCd_ef"],
    ),
    (N.TELEGRAM, None, "/+33612345678", ["https://t.me/+33612345678"]),
    (N.TELEGRAM, None, "/addlist/x", ["https://t.me/addlist/x"]),
    (
        N.SPOTIFY,
        POST,
        "track:6rqhFgbbKwnb9MLmUQDhG6",
        [
            "https://open.spotify.com/track/6rqhFgbbKwnb9MLmUQDhG6?si=abc",
            "open.spotify.com/intl-fr/track/6rqhFgbbKwnb9MLmUQDhG6",
            "https://open.spotify.com/embed/track/6rqhFgbbKwnb9MLmUQDhG6",
        ],
    ),
    (N.SPOTIFY, PROFILE, "artist:4Z8", ["https://open.spotify.com/artist/4Z8?si=x"]),
    (
        N.SPOTIFY,
        None,
        "playlist:37i",
        ["https://open.spotify.com/playlist/37i", "open.spotify.com/user/a/playlist/37i"],
    ),
    (N.SPOTIFY, None, "/aBc", ["https://spotify.link/aBc"]),
    (
        N.DISCORD,
        GROUP,
        "group:aBcD",
        [
            "https://discord.gg/aBcD",
            "discord.com/invite/aBcD",
            "https://discordapp.com/invite/aBcD?event=1",
            "https://discord.gg/invite/aBcD",
        ],
    ),
    (N.DISCORD, GROUP, "group:id:81", ["https://discord.com/channels/81/82"]),
    (N.DISCORD, POST, "post:83", ["https://discord.com/channels/81/82/83"]),
    (
        N.TWITCH,
        PROFILE,
        "@aicha",
        ["https://www.twitch.tv/Aicha", "m.twitch.tv/aicha/about", "twitch.tv/aicha?sr=a"],
    ),
    (
        N.TWITCH,
        POST,
        "post:AbcDef",
        ["https://clips.twitch.tv/AbcDef", "https://www.twitch.tv/aicha/clip/AbcDef?filter=x"],
    ),
    (N.TWITCH, POST, "post:123", ["https://www.twitch.tv/videos/123"]),
    (
        N.LINKEDIN,
        PROFILE,
        "@aicha-b",
        [
            "https://www.linkedin.com/in/aicha-b/",
            "https://tr.linkedin.com/in/Aicha-b?trk=people",
            "linkedin.com/in/aicha-b?utm_source=share&utm_campaign=x",
        ],
    ),
    (
        N.LINKEDIN,
        PROFILE,
        "@company/aicha",
        ["https://www.linkedin.com/company/aicha/", "linkedin.com/company/Aicha/posts"],
    ),
    (
        N.LINKEDIN,
        POST,
        "post:7123456789012345678",
        [
            "https://www.linkedin.com/posts/aicha_hello-activity-7123456789012345678-AbCd?rcm=x",
            "https://www.linkedin.com/feed/update/urn:li:activity:7123456789012345678/",
        ],
    ),
    (N.LINKEDIN, GROUP, "group:99", ["https://www.linkedin.com/groups/99/"]),
    (
        N.SNAPCHAT,
        PROFILE,
        "@aicha",
        [
            "https://www.snapchat.com/add/aicha?share_id=x",
            "snapchat.com/@Aicha",
            "https://snapchat.com/add/aicha/",
        ],
    ),
    (
        N.SNAPCHAT,
        POST,
        "post:W7_x",
        ["https://www.snapchat.com/spotlight/W7_x", "https://www.snapchat.com/@a/spotlight/W7_x"],
    ),
    (N.SNAPCHAT, None, "/aBc", ["https://t.snapchat.com/aBc"]),
    (
        N.THREADS,
        PROFILE,
        "@aicha",
        ["https://www.threads.net/@aicha", "threads.com/@Aicha?xmt=x", "threads.net/@Aicha/media"],
    ),
    (
        N.THREADS,
        POST,
        "post:C8xYz",
        ["https://www.threads.net/@aicha/post/C8xYz?xmt=1", "https://www.threads.com/t/C8xYz"],
    ),
    (
        N.WHATSAPP,
        PROFILE,
        "channel:0029VaAb",
        ["https://whatsapp.com/channel/0029VaAb", "https://www.whatsapp.com/channel/0029VaAb"],
    ),
    (N.WHATSAPP, POST, "post:0029VaAb/123", ["https://whatsapp.com/channel/0029VaAb/123"]),
    (
        N.WHATSAPP,
        GROUP,
        "group:AbCdEf",
        ["https://chat.whatsapp.com/AbCdEf", "chat.whatsapp.com/invite/AbCdEf"],
    ),
    (
        N.WHATSAPP,
        PROFILE,
        "phone:33612345678",
        ["https://wa.me/33612345678", "https://api.whatsapp.com/send?phone=33612345678&text=x"],
    ),
]  # fmt: skip
CASES = [(form, *row[:3]) for row in FORMS for form in row[3]]


@pytest.mark.parametrize(("form", "network", "kind", "key"), CASES, ids=[c[0] for c in CASES])
def test_every_form_of_a_link_is_understood_alike(form, network, kind, key):
    link = links.read(form)

    assert (link.network, link.kind, link.key) == (network, kind, f"{network}:{key}")


def test_every_network_with_profiles_is_among_the_forms():
    assert {row[0] for row in FORMS} == set(N) - {N.WEBSITE, N.OTHER}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("https://Example.com/a/?utm_source=x#top", "web:example.com/a"),
        ("www.example.com/a", "web:example.com/a"),
        ("http://example.com:80/a/", "web:example.com/a"),
        ("https://example.com:8443/a", "web:example.com:8443/a"),
        ("https://example.com/a?b=2&a=1&fbclid=x", "web:example.com/a?a=1&b=2"),
        # "s" and "t" mean nothing at the networks, and something elsewhere.
        ("https://example.com/?s=shoes", "web:example.com/?s=shoes"),
        ("https://notinstagram.com/a", "web:notinstagram.com/a"),
        ("https://example.com/instagram.com", "web:example.com/instagram.com"),
        ("https://bit.ly/AbC", "web:bit.ly/AbC"),
        ("https://l.instagram.com/?u=x.com", "web:l.instagram.com/?u=x.com"),
        ("https://m.me/aicha", "web:m.me/aicha"),
        ("aicha.store", "web:aicha.store/"),
        ("http://[::1", "web:http://[::1"),
        ("", "web:"),
    ],
)  # fmt: skip
def test_nothing_is_claimed_of_other_links(text, key):
    assert links.read(text) == Link(None, None, "", key)


@pytest.mark.parametrize(
    ("text", "home", "link"),
    [
        ("@Aicha", None, Link(None, PROFILE, "Aicha", "name:@aicha")),
        ("aicha", None, Link(None, PROFILE, "aicha", "name:@aicha")),
        (" @Aicha ", N.TIKTOK, Link(N.TIKTOK, PROFILE, "Aicha", "tiktok:@aicha")),
        ("a.b", N.INSTAGRAM, Link(N.INSTAGRAM, PROFILE, "a.b", "instagram:@a.b")),
        ("@aicha.store", N.WEBSITE, Link(None, PROFILE, "aicha.store", "name:@aicha.store")),
        # These may just as well be ids.
        ("dQw4w9WgXcQ", N.YOUTUBE, Link(N.YOUTUBE, None, "dQw4w9WgXcQ", "youtube:@dqw4w9wgxcq")),
        ("17000000001", N.TWITTER, Link(N.TWITTER, None, "17000000001", "twitter:@17000000001")),
    ],
)  # fmt: skip
def test_bare_name_is_a_profile_at_home(text, home, link):
    assert links.read(text, home=home) == link


def test_name_and_its_address_are_the_same_link():
    assert links.read("@Aicha", home=N.INSTAGRAM).key == links.read("instagram.com/aicha/").key


@given(st.text(st.characters()) | st.from_regex(r"(https?://)?[a-z.]{0,12}(/[^ ]{0,8}){0,4}"))
def test_reading_never_raises_and_keys_can_be_stored(text):
    link = links.read(text, home=N.INSTAGRAM)

    assert 1 <= len(link.key) <= KEY_LIMIT
    assert "\x00" not in link.key
    link.key.encode()
    assert isinstance(links.words(link), str)


HOSTS = [
    "instagram.com",
    "tiktok.com",
    "youtube.com",
    "youtu.be",
    "facebook.com",
    "x.com",
    "t.me",
    "open.spotify.com",
    "discord.gg",
    "twitch.tv",
    "linkedin.com",
    "snapchat.com",
    "threads.net",
    "whatsapp.com",
    "wa.me",
    "fb.watch",
    "ig.me",
    "chat.whatsapp.com",
    "discord.com",
    "vm.tiktok.com",
    "clips.twitch.tv",
]
PARTS = [
    "p",
    "reel",
    "share",
    "groups",
    "posts",
    "c",
    "s",
    "+",
    "i",
    "status",
    "watch",
    "@a",
    "channel",
    "in",
    "add",
    "post",
    "invite",
    "1",
    "v",
    "live",
    "intl-fr",
    "send",
    "l.php",
    "profile.php",
    "people",
    "web",
    "user",
    "joinchat",
    "activity-5",
]
QUERIES = ["", "?v=1", "?id=2", "?story_fbid=", "?fbid=3", "?phone=+", "?channel=", "?screen_name="]


@given(
    host=st.sampled_from(HOSTS),
    parts=st.lists(st.sampled_from(PARTS), max_size=5),
    query=st.sampled_from(QUERIES),
)
def test_no_address_of_a_network_makes_a_reader_fail(host, parts, query):
    assert links.read(f"{host}/{'/'.join(parts)}{query}").key


def test_long_links_that_differ_at_their_end_have_different_keys():
    base = "https://example.com/" + "a" * 2000

    keys = {links.read(base).key, links.read(f"{base}b").key}

    assert [len(key) for key in keys] == [KEY_LIMIT, KEY_LIMIT]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://instagram.com/aicha", "Instagram, profile @aicha"),
        ("https://facebook.com/profile.php?id=7", "Facebook, a profile, page or channel"),
        ("https://youtu.be/dQw4w9WgXcQ", "YouTube, a single post or video"),
        ("https://discord.gg/abc", "Discord, a group or invitation"),
        ("https://vm.tiktok.com/abc", "TikTok"),
        ("@aicha", "Profile @aicha"),
        ("https://example.com", ""),
    ],
)
def test_words_say_what_a_link_looks_like(text, said):
    with translation.override("en"):
        assert links.words(links.read(text)) == said


# --- services ------------------------------------------------------------------------------------


def service(name, network, *, category="", order_type=ServiceType.DEFAULT, link_target=""):
    return Service(
        provider_name=name,
        type=order_type,
        link_target=link_target,
        category=Category(source_name=category or name, network=network),
    )


@pytest.mark.parametrize(
    ("name", "network", "expected"),
    [
        ("Instagram Followers [Real | 30 Days]", N.INSTAGRAM, (N.INSTAGRAM, PROFILE)),
        ("Instagram Takipçi 🇹🇷", N.INSTAGRAM, (N.INSTAGRAM, PROFILE)),
        ("Abonnés YouTube", N.YOUTUBE, (N.YOUTUBE, PROFILE)),
        ("Instagram Likes", N.INSTAGRAM, (N.INSTAGRAM, POST)),
        ("Instagram Beğeni", N.INSTAGRAM, (N.INSTAGRAM, POST)),
        ("Instagram Likes [Old Accounts | 5K/Day]", N.INSTAGRAM, (N.INSTAGRAM, POST)),
        ("J'aime Instagram", N.INSTAGRAM, (N.INSTAGRAM, POST)),
        ("TikTok İzlenme", N.TIKTOK, (N.TIKTOK, POST)),
        ("𝗜𝗻𝘀𝘁𝗮𝗴𝗿𝗮𝗺 𝗟𝗶𝗸𝗲𝘀", N.INSTAGRAM, (N.INSTAGRAM, POST)),
        ("X (Twitter) Tweet Views", N.TWITTER, (N.TWITTER, POST)),
        ("Facebook Reels Views", N.FACEBOOK, (N.FACEBOOK, POST)),
        ("Facebook Page Likes", N.FACEBOOK, (N.FACEBOOK, None)),
        ("Facebook Page Likes + Followers", N.FACEBOOK, (N.FACEBOOK, PROFILE)),
        ("Telegram Channel Members", N.TELEGRAM, (N.TELEGRAM, GROUP)),
        ("Telegram Post Views", N.TELEGRAM, (N.TELEGRAM, POST)),
        # Where one word speaks against another, nothing is expected.
        ("Telegram Views [Last 10 Posts]", N.TELEGRAM, (N.TELEGRAM, None)),
        ("Instagram Story Views", N.INSTAGRAM, (N.INSTAGRAM, None)),
        ("Instagram Profile Visits + Views", N.INSTAGRAM, (N.INSTAGRAM, None)),
        ("Instagram Auto Likes", N.INSTAGRAM, (N.INSTAGRAM, None)),
        ("TikTok Live Views", N.TIKTOK, (N.TIKTOK, None)),
        ("Instagram 1000 Followers + 500 Likes", N.INSTAGRAM, (N.INSTAGRAM, None)),
        ("Spotify Followers", N.SPOTIFY, (N.SPOTIFY, None)),
        ("Spotify Plays", N.SPOTIFY, (N.SPOTIFY, None)),
        ("Instagram Something", N.INSTAGRAM, (N.INSTAGRAM, None)),
        # Of another network than the category's, or of none.
        ("Instagram & TikTok Likes", N.INSTAGRAM, (None, POST)),
        ("TikTok Followers", N.INSTAGRAM, (None, PROFILE)),
        ("Website Traffic from Instagram", N.WEBSITE, (None, None)),
        ("Pinterest Followers", N.OTHER, (None, PROFILE)),
    ],
)
def test_names_tell_what_a_service_expects(name, network, expected):
    assert links.expected(service(name, network)) == expected


@pytest.mark.parametrize("target", [PROFILE, POST, GROUP])
def test_staff_say_what_a_service_expects(target):
    told = service("Instagram Likes", N.INSTAGRAM, link_target=target)

    assert links.expected(told) == (N.INSTAGRAM, target)


def test_staff_switch_the_check_off():
    likes = service("Instagram Likes", N.INSTAGRAM, link_target=LinkTarget.ANY)

    assert links.expected(likes) == (None, None)
    assert links.mismatch(links.read("https://tiktok.com/@aicha"), likes) is None


def test_mentions_expect_anything_whoever_is_mentioned():
    mentions = service(
        "Mentions User Followers", N.INSTAGRAM, order_type=ServiceType.MENTIONS_USER_FOLLOWERS
    )

    assert links.expected(mentions) == (N.INSTAGRAM, None)


def test_comment_types_expect_a_post_whatever_they_are_called():
    votes = service("X (Twitter) Something", N.TWITTER, order_type=ServiceType.POLL)

    assert links.expected(votes) == (N.TWITTER, POST)


@pytest.mark.parametrize(
    ("name", "network", "text", "mismatch"),
    [
        ("Instagram Likes", N.INSTAGRAM, "instagram.com/aicha", LinkMismatch(POST, PROFILE)),
        ("Instagram Likes", N.INSTAGRAM, "@aicha", LinkMismatch(POST, PROFILE)),
        ("Instagram Likes", N.INSTAGRAM, "youtu.be/x", LinkMismatch(N.INSTAGRAM, N.YOUTUBE)),
        ("Instagram Followers", N.INSTAGRAM, "instagram.com/p/x", LinkMismatch(PROFILE, POST)),
        ("Instagram Something", N.INSTAGRAM, "x.com/a", LinkMismatch(N.INSTAGRAM, N.TWITTER)),
        ("Telegram Members", N.TELEGRAM, "t.me/aicha/5", LinkMismatch(GROUP, POST)),
        ("Facebook Group Members", N.FACEBOOK, "facebook.com/a", LinkMismatch(GROUP, PROFILE)),
        ("YouTube Views", N.YOUTUBE, "youtube.com/@a", LinkMismatch(POST, PROFILE)),
        # Right, or not surely wrong.
        ("Instagram Likes", N.INSTAGRAM, "instagram.com/reel/x", None),
        ("Instagram Likes", N.INSTAGRAM, "instagram.com/share/x", None),
        ("Instagram Likes", N.INSTAGRAM, "https://bit.ly/x", None),
        ("TikTok Likes", N.TIKTOK, "vm.tiktok.com/x", None),
        ("YouTube Views", N.YOUTUBE, "dQw4w9WgXcQ", None),
        ("Telegram Members", N.TELEGRAM, "t.me/aicha", None),
        ("Telegram Members", N.TELEGRAM, "t.me/+abc", None),
        ("Telegram Followers", N.TELEGRAM, "t.me/+abc", None),
        ("Discord Members", N.DISCORD, "discord.gg/abc", None),
        ("Website Traffic", N.WEBSITE, "instagram.com/aicha", None),
        ("Pinterest Followers", N.OTHER, "pinterest.com/aicha", None),
    ],
)
def test_only_clear_contradictions_are_told(name, network, text, mismatch):
    sold = service(name, network)

    assert links.mismatch(links.of_service(text, sold), sold) == mismatch


# What the sandbox calls its services, and a link that is right for each kind of them.
RIGHT = {
    "Followers": {N.INSTAGRAM: "instagram.com/aicha", N.TIKTOK: "tiktok.com/@aicha"},
    "Likes": {N.INSTAGRAM: "instagram.com/p/x", N.TIKTOK: "tiktok.com/@aicha/video/7"},
    "Views": {N.INSTAGRAM: "instagram.com/reel/x", N.YOUTUBE: "youtu.be/dQw4w9WgXcQ"},
}


def test_the_demonstration_list_refuses_no_right_link():
    refused = [
        (item.name, text)
        for item in menu(SHORTEST)
        for words, forms in RIGHT.items()
        for network, text in forms.items()
        if words in item.name and network.label in item.name
        if (sold := service(item.name, network, category=item.category, order_type=item.type))
        if links.mismatch(links.of_service(text, sold), sold)
    ]

    assert refused == []
