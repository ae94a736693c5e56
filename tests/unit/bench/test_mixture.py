"""The mix of the benchmark: reproducible, every repetition with hosts of its own, and frames that are still whole."""

from __future__ import annotations

from pathlib import Path

from bench.mixture import GAP_NS, START_NS, Mix, address_places, captures_of, write_mix
from fieldwatch_ext.capture import FileSource
from support.capture_reading import drain
from support.engine_compare import assert_agree, run, run_twin
from support.traffic import ETHERNET_FRAMES

CAPTURES = list(ETHERNET_FRAMES.values())
ROUND = sum(map(len, CAPTURES))


def dealt(repetitions: int, seed: int = 1) -> list[list[bytes]]:
    frames = Mix(CAPTURES, seed).frames()
    return [[next(frames) for _ in range(ROUND)] for _ in range(repetitions)]


def hosts(frames: list[bytes]) -> set[bytes]:
    return {octets[at : at + length] for octets in frames for at, length in address_places(octets)}


def test_same_seed_same_octets(tmp_path: Path) -> None:
    """A file is its seed's, and another seed's is another."""
    files = [tmp_path / name for name in ("a", "b", "c")]
    for path, seed in zip(files, (1, 1, 2), strict=True):
        write_mix(path, CAPTURES, frames=ROUND + 7, seed=seed)
    first, second, other = (path.read_bytes() for path in files)

    assert first == second
    assert first != other


def test_times_increase_and_frames_are_as_many(tmp_path: Path) -> None:
    """Exactly as many frames as asked for, evenly apart."""
    path = tmp_path / "mix.pcap"
    write_mix(path, captures_of(None), frames=1_000)
    with path.open("rb") as stream:
        times = [frame.ts_ns for frame in drain(FileSource(stream.fileno()))]

    assert [START_NS + GAP_NS * number for number in range(1_000)] == times


def test_each_repetition_has_hosts_of_its_own() -> None:
    """As many hosts each time as in the captures, none of them twice."""
    captured = hosts([octets for capture in CAPTURES for octets in capture])
    one, two, three = (hosts(frames) for frames in dealt(3))

    assert [len(captured)] * 3 == [len(one), len(two), len(three)]
    assert set() == one & two | one & three | two & three


def test_frames_keep_their_form() -> None:
    """Engine and twin agree on the mix, and the verdicts are those of the captures it was made of."""
    plain = [octets for capture in CAPTURES for octets in capture]
    before = run([(START_NS, octets, len(octets)) for octets in plain]).counters
    (mixed,) = dealt(1)
    frames = [(START_NS + GAP_NS * number, octets, len(octets)) for number, octets in enumerate(mixed)]
    result = run(frames)

    assert_agree(result, run_twin(frames), ordered=True)
    assert (before.decoded, before.by_layer) == (result.counters.decoded, result.counters.by_layer)
