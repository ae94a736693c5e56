"""The engine agrees with its plain-Python twin: on every protocol, every prefix, damaged octets and mixed traffic."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine_compare import assert_agree, run, run_twin
from support.traffic import ETHERNET_FRAMES, OTHER_LINKS

ALL_ETHERNET = [frame for frames in ETHERNET_FRAMES.values() for frame in frames]
SECOND = 1_000_000_000


@pytest.mark.parametrize("name", ETHERNET_FRAMES)
def test_protocol(name: str) -> None:
    """Verdicts, layers, flow records and sightings of each protocol's frames."""
    frames = [(at * 1000, octets, len(octets)) for at, octets in enumerate(ETHERNET_FRAMES[name], 1)]

    assert_agree(run(frames), run_twin(frames))


@pytest.mark.parametrize("linktype", OTHER_LINKS)
def test_linktype(linktype: int) -> None:
    """The same for links that are no Ethernet."""
    frames = [(at * 1000, octets, len(octets)) for at, octets in enumerate(OTHER_LINKS[linktype], 1)]

    assert_agree(run(frames, linktype=linktype), run_twin(frames, linktype=linktype))


@pytest.mark.parametrize("cut", ["by the capture", "on the wire"])
def test_every_prefix(cut: str) -> None:
    """A frame that ends anywhere has the same verdict in both, whether the capture or the wire cut it."""
    prefixes = [
        (at * 1000, octets[:end], len(octets) if cut == "by the capture" else end)
        for at, octets in enumerate(ALL_ETHERNET, 1)
        for end in range(len(octets) + 1)
    ]

    assert_agree(run(prefixes), run_twin(prefixes))


def test_every_prefix_of_other_links() -> None:
    """Likewise on links that are no Ethernet."""
    for linktype, frames in OTHER_LINKS.items():
        prefixes = [
            (9, octets[:end], wire)
            for octets in frames
            for end in range(len(octets) + 1)
            for wire in (len(octets), end)
        ]

        assert_agree(run(prefixes, linktype=linktype), run_twin(prefixes, linktype=linktype))


def test_every_octet_damaged() -> None:
    """Any single octet set to 0, all ones or with one bit flipped: both see the same damage."""
    chance = random.Random(2)
    damaged: list[tuple[int, bytes, int]] = []
    for octets in ALL_ETHERNET:
        for at in range(min(len(octets), 120)):
            value = chance.choice((0, 0xFF, octets[at] ^ 1 << chance.randrange(8)))
            damaged.append((len(damaged), octets[:at] + bytes([value]) + octets[at + 1 :], len(octets)))

    assert_agree(run(damaged), run_twin(damaged))


def test_every_octet_of_other_links_damaged() -> None:
    """Likewise on links that are no Ethernet, where the headers of captures have lengths of their own."""
    chance = random.Random(3)
    for linktype, frames in OTHER_LINKS.items():
        damaged: list[tuple[int, bytes, int]] = []
        for octets in frames:
            for at in range(min(len(octets), 120)):
                value = chance.choice((0, 0xFF, octets[at] ^ 1 << chance.randrange(8)))
                damaged.append((len(damaged), octets[:at] + bytes([value]) + octets[at + 1 :], len(octets)))

        assert_agree(run(damaged, linktype=linktype), run_twin(damaged, linktype=linktype))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(ALL_ETHERNET), st.integers(0, 200 * SECOND)), max_size=60),
    st.sampled_from([1, 3, 32, 4096]),
)
def test_mixed_traffic(picked: list[tuple[bytes, int]], block: int) -> None:
    """Any order of frames with any gaps: flows end and begin at the same frames, however the blocks are cut."""
    now = 0
    frames = []
    for octets, gap in picked:
        now += gap
        frames.append((now, octets, len(octets)))

    assert_agree(run(frames, block=block), run_twin(frames))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=20), st.sampled_from([1, *OTHER_LINKS]))
def test_noise(noise: list[bytes], linktype: int) -> None:
    """Octets without any sense."""
    frames = [(at, octets, len(octets)) for at, octets in enumerate(noise)]

    assert_agree(run(frames, linktype=linktype), run_twin(frames, linktype=linktype))


def test_local_prefixes() -> None:
    """Prefixes of the user's count as local beside the private ranges."""
    frames = [(1, octets, len(octets)) for octets in ETHERNET_FRAMES["tcp_reset"] + ETHERNET_FRAMES["ipv6"]]
    prefixes = [(bytes([198, 51, 100, 0]), 24), (bytes.fromhex("20010db8") + bytes(12), 32)]

    assert_agree(
        run(frames, local_prefixes=prefixes), run_twin(frames, local_prefixes=["198.51.100.0/24", "2001:db8::/32"])
    )
