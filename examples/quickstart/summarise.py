"""Monthly weather at JFK in 2013, as untrusted code would compute it.

Reads a CSV of hourly observations that it is given read-only, prints one line
a month, and then tries three things that no such code should get away with.
"""

import csv
import os
import socket
import sys
from collections import defaultdict


def monthly(path):
    """{month: [(temperature in F, precipitation in inches), ...]} of the file."""
    months = defaultdict(list)
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if row["temp"] != "NA":
                months[int(row["month"])].append((float(row["temp"]), float(row["precip"])))
    return months


def attempt(what, action):
    try:
        action()
    except OSError as error:
        return f"{what}: refused ({error.strerror})"
    return f"{what}: ALLOWED"


def main(path):
    print("month  hours  mean F  min F  max F  rain in")
    for month, hours in sorted(monthly(path).items()):
        temperatures = [temperature for temperature, _ in hours]
        mean = sum(temperatures) / len(temperatures)
        rain = sum(precipitation for _, precipitation in hours)
        print(f"{month:5}  {len(hours):5}  {mean:6.1f}  {min(temperatures):5.1f}"
              f"  {max(temperatures):5.1f}  {rain:7.2f}")
    print()
    print(attempt("change the data", lambda: open(path, "a").close()))
    print(attempt("read /etc/shadow", lambda: open("/etc/shadow").close()))
    print(attempt("reach the network", lambda: socket.create_connection(("192.0.2.1", 80), 2)))
    print(f"processes in sight: {sorted(int(p) for p in os.listdir('/proc') if p.isdigit())}")


if __name__ == "__main__":
    main(sys.argv[1])
