"""`ServerClock`: what a server's answers tell of its clock."""

from __future__ import annotations

import pytest

from claimcheck.stores.clock import ServerClock


class World:
    """A machine and a server, each with a clock of its own."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.asleep = 0.0
        self.wall_is_off = 0.0
        self.server_is_off = 0.0
        self.clock = ServerClock("the store", wall=self.wall, monotonic=self.monotonic)

    def wall(self) -> float:
        return 1_800_000_000 + self.elapsed + self.wall_is_off

    def monotonic(self) -> float:
        return 5_000 + self.elapsed - self.asleep

    def server(self) -> float:
        return 1_800_000_000 + self.elapsed + self.server_is_off

    def knows(self) -> bool:
        return self.clock.known

    def error(self) -> float:
        """How far the clock is off what it should tell."""
        return abs(self.clock.now() - self.server())

    def ask(self, there: float = 0.0, back: float = 0.0) -> None:
        """Have a request take so many seconds on its way, and its answer as well."""
        sent = self.monotonic()
        self.elapsed += there
        second = float(int(self.server()))
        self.elapsed += back
        self.clock.learn(second, sent=sent, received=self.monotonic())

    def suspend(self, seconds: float) -> None:
        self.elapsed += seconds
        self.asleep += seconds


@pytest.fixture
def world() -> World:
    return World()


def test_before_an_answer_it_is_this_machines(world: World) -> None:
    world.server_is_off = 600

    assert not world.knows()
    assert world.clock.now() == world.wall()


@pytest.mark.parametrize("off", [-600.0, -0.4, 0.0, 0.3, 600.7])
def test_an_answer_tells_it_to_half_a_second(world: World, off: float) -> None:
    world.server_is_off = off

    world.ask()

    assert world.knows()
    assert world.error() <= 0.5


def test_the_way_there_and_back_counts(world: World) -> None:
    world.server_is_off = 600

    world.ask(there=0.8, back=0.8)

    assert world.error() <= 1.3


def test_further_answers_tell_more(world: World) -> None:
    world.server_is_off = -600.3

    for _ in range(50):
        world.elapsed += 0.83
        world.ask(there=0.01, back=0.01)

    assert world.error() < 0.05


@pytest.mark.parametrize(("there", "back"), [(2.5, 0.0), (0.0, 2.5), (20.0, 0.1)])
def test_an_answer_that_was_slow_tells_less_and_nothing_false(
    world: World, there: float, back: float
) -> None:
    """It waited for credentials, or is the answer to a request that was sent again."""
    world.server_is_off = -600

    world.ask(there, back)

    assert not world.knows()  # so that the store is asked again
    assert world.error() <= (there + back + 1) / 2
    world.ask()
    assert world.knows()
    assert world.error() <= 0.5


def test_an_answer_that_was_slow_takes_nothing_away(world: World) -> None:
    world.ask()
    before = world.error()

    world.ask(there=20)

    assert world.knows()
    assert world.error() <= before


def test_between_answers_it_counts_on(world: World) -> None:
    world.server_is_off = 600
    world.ask()
    error = world.error()

    world.elapsed += 40_000

    assert world.knows()
    assert world.error() == pytest.approx(error)


@pytest.mark.parametrize("steps", [-3_600.0, 3_600.0])
def test_a_wall_clock_that_is_set_is_noticed(world: World, steps: float) -> None:
    world.ask()
    world.wall_is_off = steps

    assert not world.knows()
    world.ask()
    assert world.knows()
    assert world.error() <= 0.5


def test_a_wall_clock_that_is_corrected_a_little_changes_nothing(world: World) -> None:
    world.ask()
    before = world.clock.now()

    world.wall_is_off = 0.9

    assert world.knows()
    assert world.clock.now() == before


def test_a_machine_that_was_suspended_knows_it_no_more(world: World) -> None:
    world.server_is_off = 600
    world.ask()

    world.suspend(300)

    assert not world.knows()
    assert world.error() <= 0.5  # the best guess there is
    world.ask()
    assert world.knows()
    assert world.error() <= 0.5


def test_a_server_whose_clock_is_set_is_followed(world: World) -> None:
    world.ask()
    world.server_is_off = -40

    world.ask()

    assert world.error() <= 0.5


def test_without_a_date_this_machines_time_must_do(world: World) -> None:
    world.server_is_off = 600

    world.clock.learn(None, sent=world.monotonic(), received=world.monotonic())

    assert world.knows()
    assert world.clock.now() == world.wall()


def test_an_answer_without_a_date_takes_nothing_away(world: World) -> None:
    world.server_is_off = 600
    world.ask()

    world.clock.learn(None, sent=world.monotonic(), received=world.monotonic())

    assert world.error() <= 0.5


@pytest.mark.parametrize("where", ["behind", "ahead of"])
@pytest.mark.parametrize("seconds", [6.0, 600.0])
def test_a_difference_above_five_seconds_is_logged_once(
    world: World, caplog: pytest.LogCaptureFixture, seconds: float, where: str
) -> None:
    world.server_is_off = seconds if where == "behind" else -seconds

    for _ in range(3):
        world.ask()
        world.elapsed += 1

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    expected = f"this machine's clock is {seconds:.0f} s {where} that of the store"
    assert expected in record.getMessage()


@pytest.mark.parametrize("off", [-4.0, 4.0])
def test_a_smaller_difference_is_not_logged(
    world: World, caplog: pytest.LogCaptureFixture, off: float
) -> None:
    world.server_is_off = off

    for _ in range(3):
        world.ask()
        world.elapsed += 1

    assert not caplog.records
