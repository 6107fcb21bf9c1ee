from __future__ import annotations

import math
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from claimcheck.audit.report import Point
from claimcheck.audit.sample import PointSample
from claimcheck.audit.sketch import GROWTH, SizeSketch, bucket_of

SIZES = st.lists(st.integers(1, 64 * 1024 * 1024), min_size=1)


def sketch_of(sizes: list[int]) -> SizeSketch:
    sketch = SizeSketch()
    for size in sizes:
        sketch.add(size)
    return sketch


@given(SIZES, st.floats(0.01, 1))
def test_a_quantile_is_right_to_within_one_percent(sizes: list[int], share: float) -> None:
    exact = sorted(sizes)[math.ceil(share * len(sizes)) - 1]
    assert abs(sketch_of(sizes).quantile(share) - exact) <= 0.01 * exact + 0.5  # whole bytes


@given(SIZES)
def test_smallest_and_largest_are_exact(sizes: list[int]) -> None:
    sketch = sketch_of(sizes)
    assert (sketch.smallest, sketch.largest) == (min(sizes), max(sizes))


@given(SIZES, SIZES)
def test_two_sketches_add_up_to_that_of_both(one: list[int], other: list[int]) -> None:
    merged, both = sketch_of(one), sketch_of(one + other)
    second = sketch_of(other)
    merged.merge(second.buckets, smallest=second.smallest, largest=second.largest)
    assert vars(merged) == vars(both)


def test_an_empty_sketch_adds_nothing() -> None:
    sketch, empty = sketch_of([7]), SizeSketch()
    sketch.merge(empty.buckets, smallest=empty.smallest, largest=empty.largest)
    assert (sketch.smallest, sketch.largest, sketch.quantile(0.5)) == (7, 7, 7)
    assert empty.quantile(0.5) == 0


@given(st.integers(1, 10**9))
def test_a_bucket_holds_the_sizes_that_the_schema_says(size: int) -> None:
    bucket = bucket_of(size)
    assert GROWTH ** (bucket - 1) * (1 - 1e-9) < size <= GROWTH**bucket * (1 + 1e-9)


def test_memory_does_not_grow_with_the_number_of_sizes() -> None:
    random = Random(7)
    sketch = sketch_of([random.randint(1, 64 * 1024 * 1024) for _ in range(20_000)])
    assert len(sketch.buckets) <= bucket_of(64 * 1024 * 1024) + 1 < 1000


class TestSample:
    def test_all_points_are_kept_while_there_is_room(self) -> None:
        sample = PointSample(10, Random(7).random)
        for size in range(10):
            sample.add(size, size, "inline")
        assert sorted(point.size for point in sample.points) == list(range(10))

    def test_no_more_are_kept_and_each_with_the_same_chance(self) -> None:
        kept: list[int] = []
        for seed in range(500):
            sample = PointSample(20, Random(seed).random)
            for size in range(100):
                sample.add(size, size, "inline")
            assert len(sample.points) == 20
            kept += [point.size for point in sample.points]
        halves = sum(size < 50 for size in kept), sum(size >= 50 for size in kept)
        assert halves[0] + halves[1] == 10_000
        # Five standard deviations of a fair choice.
        assert abs(halves[0] - 5000) < 250

    def test_two_samples_merge_into_that_of_both(self) -> None:
        one, other = PointSample(50, Random(1).random), PointSample(50, Random(2).random)
        for size in range(200):
            one.add(size, size, "inline")
            other.add(1000 + size, 7, "stored")
        lowest = sorted([*one.points, *other.points], key=lambda point: point.draw)[:50]

        one.merge(other.points)

        assert list(one.points) == lowest
        assert {point.route for point in lowest} == {"inline", "stored"}

    def test_equal_draws_are_no_trouble(self) -> None:
        sample = PointSample(3, Random(7).random)
        point = Point(size=1, sent_size=1, route="inline", draw=0.5)
        sample.merge([point] * 5)
        assert list(sample.points) == [point] * 3
