"""Measures user functions beside their peers: `python benches/udf --rounds N ...`.

`lakekeep bench udf` starts this and makes a table, JSON and a picture of what it says: one
JSON object a line on standard output, as `events` has them. Whatever else is printed by
engines and servers goes to standard error.
"""

from __future__ import annotations

import argparse
import random
from contextlib import ExitStack
from functools import partial
from typing import Callable

from events import Events
from measure import Burst, measure, measured_elsewhere
from peer import Absent, Setting
from scenarios import SCENARIOS, Scenario, versions

WARM_UP = 3

# So many calls.
Turn = Callable[[int], Burst]


def main() -> None:
    """Runs the scenarios, one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--peers", default="all", help="names, separated by commas")
    parser.add_argument("--scenarios", default="all", help="names, separated by commas")
    parser.add_argument("--worker", required=True, help="the worker's source, unsandboxed")
    options = parser.parse_args()
    events = Events()
    events.versions(versions())
    wanted = None if options.peers == "all" else options.peers.split(",")
    chosen = None if options.scenarios == "all" else options.scenarios.split(",")
    order = random.Random(options.seed)  # noqa: S311  an order, no secret
    with Setting(options.worker) as setting:
        for scenario in SCENARIOS:
            if chosen is None or scenario.name in chosen:
                run(scenario, setting, wanted, events, options.rounds, order)


def run(
    scenario: Scenario,
    setting: Setting,
    wanted: list[str] | None,
    events: Events,
    rounds: int,
    order: random.Random,
) -> None:
    """Measures all peers of a scenario, round after round in a new order."""
    turns: dict[str, Turn] = {}
    with ExitStack() as ends:
        for name in (*scenario.peers, *scenario.elsewhere):
            if wanted is None or name in wanted or name == scenario.measure:
                try:
                    if name in scenario.elsewhere:
                        turns[name] = invited(scenario, name, events)
                    else:
                        turns[name] = entered(scenario, name, (setting, events), ends)
                except Absent as absent:
                    events.absent(scenario.name, name, str(absent))
                    continue
                turns[name](WARM_UP)
        names = list(turns)
        for number in range(-(-rounds // scenario.share)):
            order.shuffle(names)
            for position, name in enumerate(names):
                burst = turns[name](scenario.calls(name))
                events.samples(scenario.name, name, (number, position), burst)


def entered(scenario: Scenario, name: str, those: tuple[Setting, Events], ends: ExitStack) -> Turn:
    """Makes a peer, and has its process looked at."""
    setting, events = those
    peer = scenario.peers[name](setting)
    ends.callback(peer.close)
    scenario.check(peer.call())
    events.present(scenario.name, name, scenario.measure, peer.pids())
    return partial(measure, peer)


def invited(scenario: Scenario, name: str, events: Events) -> Turn:
    """Has a peer made by the program that listens."""
    told = events.invite(scenario.name, name, scenario.measure, scenario.elsewhere[name])
    if "absent" in told:
        raise Absent(told["absent"])
    return partial(measured_elsewhere, partial(events.turn, scenario.name, name), told["pid"])


if __name__ == "__main__":
    main()
