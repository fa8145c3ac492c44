"""How fast the simulator is: `python -m lukewarm.costs.bench` prints one JSON object, with simfaas beside it.

simfaas is no dependency: `pip install simfaas` in the environment that runs this, or name another Python that has it
with --simfaas-python. Both run the README scenario of simfaas (Poisson 0.9/s, exponential service of 1.991 s warm and
2.244 s cold, 600 s window, an instance per request) in turn, in one run of this command. Speed is given per second of
wall clock and of processor time: only the latter can be compared on a machine that does other work.
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import time

import click

from lukewarm.costs.arrivals import Poisson
from lukewarm.costs.billing import rule
from lukewarm.costs.catalog import load
from lukewarm.costs.distributions import Constant, Exponential
from lukewarm.costs.policy import Policy
from lukewarm.costs.simulate import Cold, Service, simulate
from lukewarm.predictors.errors import ServerError

RATE, WARM_S, COLD_S, WINDOW_S = 0.9, 1.991, 2.244, 600.0
# simfaas prints progress bars and tables: only the last line is the answer
_SIMFAAS = """
import json, sys, time
from simfaas.ServerlessSimulator import ServerlessSimulator
horizon = float(sys.argv[1])
s = ServerlessSimulator(arrival_rate={rate}, warm_service_rate=1/{warm}, cold_service_rate=1/{cold},
                        expiration_threshold={window}, max_time=horizon)
start, start_cpu = time.perf_counter(), time.process_time()
s.generate_trace(debug_print=False, progress=False)
seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
cold = s.total_cold_count / s.total_req_count
print(json.dumps({{"requests": int(s.total_req_count), "seconds": seconds, "cpu_seconds": cpu, "cold_fraction": cold}}))
"""


def ours(requests: int, rounds: int) -> dict[str, float]:
    """Simulated requests a second of one core: the median of `rounds`, the kernel compiled before."""
    service = Service(Exponential(WARM_S), Cold(Constant(COLD_S - WARM_S)), Policy(WINDOW_S, routing="bound"))
    billing = rule(load().plan("modal"))
    simulate(Poisson(RATE), service, billing, horizon_s=1000.0)
    seconds, cpu, result = [], [], None
    for number in range(rounds):
        start, start_cpu = time.perf_counter(), time.process_time()
        result = simulate(Poisson(RATE), service, billing, horizon_s=requests / RATE, seed=number)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    assert result is not None
    return {
        "requests": result.requests,
        "seconds_median": sorted(seconds)[rounds // 2],
        "requests_per_s": requests / sorted(seconds)[rounds // 2],
        "requests_per_cpu_s": requests / sorted(cpu)[rounds // 2],
        "cold_fraction": result.cold_fraction,
        "rounds": rounds,
    }


def memory_growth_mb(small: int, large: int) -> float:
    """By how much the peak memory of this process grows from a small run to a large one."""
    service = Service(Exponential(WARM_S), Cold(Constant(0.253)), Policy(WINDOW_S))
    billing = rule(load().plan("modal"))
    peaks = []
    for requests in (small, large):
        simulate(Poisson(RATE), service, billing, horizon_s=requests / RATE)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return peaks[1] - peaks[0]


def theirs(python: str, requests: int) -> dict[str, float] | None:
    """The same scenario in simfaas, in a process of its own; None where it is not installed."""
    if subprocess.run([python, "-c", "import simfaas"], capture_output=True, check=False).returncode:
        return None
    code = _SIMFAAS.format(rate=RATE, warm=WARM_S, cold=COLD_S, window=WINDOW_S)
    done = subprocess.run(
        [python, "-c", code, str(requests / RATE)], capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode:
        raise ServerError(f"simfaas failed under {python}: {done.stderr.strip()[-500:]}")
    answer: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    answer["requests_per_s"] = answer["requests"] / answer["seconds"]
    answer["requests_per_cpu_s"] = answer["requests"] / answer["cpu_seconds"]
    return answer


@click.command()
@click.option("--requests", default=5_000_000, show_default=True, help="Requests of our run.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--simfaas-requests", default=90_000, show_default=True, help="Requests of the simfaas run.")
@click.option("--simfaas-python", default=sys.executable, help="A Python that has simfaas; default: this one.")
def main(requests: int, rounds: int, simfaas_requests: int, simfaas_python: str) -> None:
    """Measure the simulator's speed, its memory, and the ratio to simfaas on the same scenario."""
    growth = memory_growth_mb(200_000, requests)
    mine = ours(requests, rounds)
    other = theirs(simfaas_python, simfaas_requests)
    report = {
        "scenario": {"rate_per_s": RATE, "warm_s": WARM_S, "cold_s": COLD_S, "window_s": WINDOW_S},
        "lukewarm": mine,
        "memory_growth_mb": growth,
        "simfaas": other or "not installed: pip install simfaas, or --simfaas-python PYTHON",
        "ratio_cpu": mine["requests_per_cpu_s"] / other["requests_per_cpu_s"] if other else None,
        "ratio_wall": mine["requests_per_s"] / other["requests_per_s"] if other else None,
        "machine": {"python": platform.python_version(), "processor": platform.machine()},
        "kind": "measured",
    }
    click.echo(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
