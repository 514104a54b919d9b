"""Measures user functions beside their peers: `python benches/udf --rounds N ...`.

`lakekeep bench udf` starts this and makes a table, JSON and a picture of what it says: one
JSON object a line on standard output, as `events` has them. Whatever else is printed by
engines and servers goes to standard error.
"""

from __future__ import annotations

import argparse
import random
from typing import Optional

from events import Events
from measure import measure
from peer import Absent, Peer, Setting
from scenarios import SCENARIOS, Scenario, versions

WARM_UP = 3


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
    peers: dict[str, Optional[Peer]] = {}
    try:
        for name in (*scenario.peers, *scenario.elsewhere):
            if wanted is None or name in wanted or name == scenario.measure:
                try:
                    enter(scenario, name, peers, (setting, events))
                except Absent as absent:
                    events.absent(scenario.name, name, str(absent))
        names = list(peers)
        for number in range(-(-rounds // scenario.share)):
            order.shuffle(names)
            for position, name in enumerate(names):
                turn(scenario, (name, peers[name]), (number, position), events)
    finally:
        for peer in peers.values():
            if peer is not None:
                peer.close()


def enter(
    scenario: Scenario,
    name: str,
    peers: dict[str, Optional[Peer]],
    those: tuple[Setting, Events],
) -> None:
    """Makes a peer, and has its process looked at; none stands for one made elsewhere."""
    setting, events = those
    if name in scenario.elsewhere:
        rows = scenario.elsewhere[name]
        if why := events.invite(scenario.name, name, scenario.measure, rows):
            raise Absent(why)
        peers[name] = None
        return
    peer = peers[name] = scenario.peers[name](setting)
    scenario.check(peer.call())
    events.present(scenario.name, name, scenario.measure, peer.pids())
    for _ in range(WARM_UP):
        peer.call()


def turn(
    scenario: Scenario, who: tuple[str, Optional[Peer]], when: tuple[int, int], events: Events
) -> None:
    """A peer's turn in a round."""
    name, peer = who
    calls = scenario.calls(name)
    if peer is None:
        events.turn(scenario.name, name, when, calls)
    else:
        events.samples(scenario.name, name, when, measure(peer, calls))


if __name__ == "__main__":
    main()
