"""Measures user functions beside their peers: `python benches/udf --rounds N ...`.

`lakekeep bench udf` starts this and makes a table, JSON and a picture of what it says: one
JSON object a line on standard output, as `events` has them. Whatever else is printed by
engines and servers goes to standard error.
"""

from __future__ import annotations

import argparse
import random

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
    peers: list[Peer] = []
    try:
        for name, make in scenario.peers.items():
            if wanted is not None and name not in wanted and name != scenario.measure:
                continue
            try:
                peer = make(setting)
                peers.append(peer)
                scenario.check(peer.call())
            except Absent as absent:
                events.absent(scenario.name, name, str(absent))
                continue
            events.present(scenario.name, name, scenario.measure, peer.pids())
            for _ in range(WARM_UP):
                peer.call()
        for number in range(-(-rounds // scenario.share)):
            order.shuffle(peers)
            for position, peer in enumerate(peers):
                burst = measure(peer, scenario.calls(peer.name))
                events.samples(scenario.name, peer.name, number, position, burst)
    finally:
        for peer in peers:
            peer.close()


if __name__ == "__main__":
    main()
