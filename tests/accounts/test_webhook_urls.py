"""Which addresses customers may name: the rules about a URL, and about an IP address."""

from __future__ import annotations

import ipaddress

import pytest

from accounts.webhook_urls import UrlRefused, is_public, read_url

PRIVATE = (
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:93.184.216.34",
    "64:ff9b::a00:1",
    "64:ff9b:1::a00:1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
)


@pytest.fixture(autouse=True)
def _public_only(settings):
    settings.WEBHOOK_ALLOW_PRIVATE = False


def test_addresses_that_are_no_public_host_are_told():
    assert [text for text in PRIVATE if is_public(ipaddress.ip_address(text))] == []
    assert is_public(ipaddress.ip_address("93.184.216.34"))
    assert is_public(ipaddress.ip_address("2606:2800:220:1::1"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "shop.example/hook",
        "ftp://shop.example/",
        "http://shop.example/",
        "https://",
        "https:///hook",
        "https://user@shop.example/",
        "https://user:password@shop.example/",
        "https://shop.example:22/",
        "https://shop.example:70000/",
        "https://shop.example/a b",
        "https://shop.example\\@127.0.0.1/",
        "https://shop.example/\n",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "javascript:alert(1)",
    ],
)
def test_url_that_is_not_public_https_is_refused(text):
    with pytest.raises(UrlRefused):
        read_url(text)


def test_url_is_taken_apart_as_a_request_names_it():
    url = read_url("https://Bücher.example:8443/hook?a=1&b=ü#part")

    assert (url.host, url.port, url.netloc, url.path) == (
        "xn--bcher-kva.example",
        8443,
        "xn--bcher-kva.example:8443",
        "/hook?a=1&b=%C3%BC",
    )


def test_ipv6_address_loses_its_brackets_where_it_is_looked_up():
    url = read_url("https://[2606:2800:220:1::1]:8443/")

    assert (url.host, url.port, url.netloc) == (
        "2606:2800:220:1::1",
        8443,
        "[2606:2800:220:1::1]:8443",
    )


def test_plain_http_and_private_addresses_are_for_development(settings):
    settings.WEBHOOK_ALLOW_PRIVATE = True

    assert read_url("http://127.0.0.1:9000/hook").port == 9000
