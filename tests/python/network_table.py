"""When training in several processes is bound by the network: a table for docs/DISTRIBUTED.md.

Every process has a link of its own. In a step it sends its gradients, a segment to each process, and the sum of its own segment
to all; each exchange sends a message to every other process. Headers of messages are a hundred bytes.

    python tests/python/network_table.py --parameters 460800 --step 1.8
"""

import argparse

RATES = [1, 10, 100]
PROCESSES = [2, 4, 16, 64, 256, 1024]
EXCHANGES = 3
HEADER = 100


def seconds(processes: int, parameters: int, gigabits: float, latency: float) -> float:
    others = processes - 1
    segments = 2 * 4 * parameters * others / processes
    return (segments + EXCHANGES * HEADER * others) * 8 / (gigabits * 1e9) + EXCHANGES * others * latency


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=int, required=True, help="trained parameters")
    parser.add_argument("--step", type=float, required=True, help="seconds that a process computes in a step")
    parser.add_argument("--latency", type=float, default=20e-6, help="seconds that a message takes beside its bytes")
    options = parser.parse_args()
    print("| processes | " + " | ".join(f"{rate} Gb/s" for rate in RATES) + " |")
    print("| ---: |" + " ---: |" * len(RATES))
    for processes in PROCESSES:
        cells = []
        for rate in RATES:
            exchange = seconds(processes, options.parameters, rate, options.latency)
            cells.append(f"{1e3 * exchange:.1f} ms = {exchange / (exchange + options.step):.1%}")
        print(f"| {processes} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
