"""The command line, see `prelude --help`. Each command imports only what it uses."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from flows.tracking import UI_PORT
from stages.common.errors import USER_MISTAKE, UserError, of_machine


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0 done, 1 our mistake or a failed stage, 2 the user's mistake."""
    args = parser().parse_args(argv)
    try:
        os.chdir(workspace_root(Path.cwd()))
        code = int(args.command(args) or 0)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_MISTAKE
    except KeyboardInterrupt:
        print("interrupted; run it again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # Python would flush what is left on exit, and fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        shown = of_machine(error)
        if shown is None:
            raise
        print(f"error: {shown}", file=sys.stderr)
        return USER_MISTAKE


def workspace_root(start: Path) -> Path:
    """The nearest folder at or above `start` with a dvc.yaml. Raises UserError."""
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise UserError("this is no Prelude workspace", where=start, do="change into a folder with a dvc.yaml")


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    top = argparse.ArgumentParser(
        prog="prelude", description="From unlabelled corpora to evaluated self-supervised encoders, through one DAG."
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, work: Callable[[argparse.Namespace], Any], help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(command=work)
        return sub

    one = command("plan", _plan, "compose systems into params.yaml")
    one.add_argument("systems", nargs="*", default=[], metavar="SYSTEM", help="default: quickstart")
    one.add_argument("-s", "--set", action="append", default=[], metavar="KEY=VALUE", help="a Hydra override; may be repeated")
    one.add_argument("--scale", default="small", metavar="SIZE", help="smoke (seconds), small (default) or paper")
    one.add_argument("--check", action="store_true", help="compose and validate, write nothing")
    one.add_argument(
        "--json",
        metavar="FILE",
        type=lambda name: Path(name).absolute(),
        help="write the plan as JSON too, for machines without YAML",
    )

    one = command("run", _run, "run the plan (or some systems), track it in MLflow, print the scoreboard")
    one.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="systems to plan first; or nodes, stages, outputs: fit@probe, fit, data/tasks",
    )
    one.add_argument("--scale", default="small", metavar="SIZE", help="of the systems: smoke, small (default) or paper")
    one.add_argument("--force", action="store_true", help="run stages even where nothing changed")
    one.add_argument("--dry", action="store_true", help="show what would run, and why; run nothing")
    one.add_argument("--keep-going", action="store_true", help="after a failure finish every branch that does not depend on it")
    one.add_argument("--workers", type=int, metavar="N", help="cores to use; default: all")
    one.add_argument("--wait", action="store_true", help="wait while another run is at work in this workspace")
    one.add_argument("--pull", action="store_true", help="bring from DVC's remote what is known there, compute the rest")
    one.add_argument("--no-prefect", dest="prefect", action="store_false", help="go without Prefect")

    one = command("sweep", _sweep, "run a plan with variants of its nodes, compare them, choose one without labels")
    one.add_argument("words", nargs="+", metavar="KEY=V1,V2", help="what to vary; beside it systems to plan, and targets")
    one.add_argument("--system", action="append", default=[], metavar="SYSTEM", help="to plan; default: quickstart")
    one.add_argument("-s", "--set", action="append", default=[], metavar="KEY=VALUE", help="a Hydra override of the base plan")
    one.add_argument("--random", type=int, metavar="N", help="draw N points instead of the whole grid")
    one.add_argument("--seed", type=int, default=0, metavar="S", help="of --random; default: 0")
    one.add_argument("--select", metavar="MEASURE", help="choose by it: rankme (default), alpha_req, lidar, or a metric")
    one.add_argument("--name", help="of the sweep; default: from the keys")
    one.add_argument("--dry", action="store_true", help="show the variants; write and run nothing")
    one.add_argument("--keep-going", action="store_true", help="after a failure finish every branch that does not depend on it")
    one.add_argument("--workers", type=int, metavar="N", help="cores to use; default: all")
    one.add_argument("--wait", action="store_true", help="wait while another run is at work in this workspace")
    one.add_argument("--no-prefect", dest="prefect", action="store_false", help="go without Prefect")

    one = command("systems", _systems, "list systems, their claims and verdicts")
    one.add_argument("--json", action="store_true")
    one.add_argument("--commit", metavar="SYSTEM", help="copy this workspace's result to docs/systems/<id>.json")

    one = command("show", _show, "show a node: what it read, what it made, its figures and lineage")
    one.add_argument("node", metavar="NODE", help="a node's name, such as simclr or fit@probe_simclr")
    one.add_argument("--json", action="store_true")

    one = command("verify", _verify, "hash every output and cached file, read state files; name what is damaged")
    one.add_argument("--json", action="store_true")
    one.add_argument("--repair", action="store_true", help="set aside what is damaged, so that the next run makes it again")

    one = command("serve", _serve, "run schedules: nightly, weekly_verify, watch; until Ctrl+C")
    one.add_argument("names", nargs="*", metavar="NAME", help="nightly, weekly_verify, watch; default: all")
    one.add_argument("--cron", metavar="TIME", help="when, as in '0 2 * * *'; for one schedule")
    one.add_argument("--interval", type=float, metavar="SECONDS", help="how often; for one schedule")
    one.add_argument("--timezone", default="UTC", metavar="ZONE", help="of times; default: UTC")
    one.add_argument(
        "--corpus", action="append", default=[], metavar="CORPUS", help="what to watch; default: all that can change"
    )
    one.add_argument(
        "--system", action="append", default=[], metavar="SYSTEM", help="what nightly plans; default: the plan as it is"
    )
    one.add_argument("--notify", metavar="BLOCK", help="a Webhook block that hears of failures and of verdicts that change")
    one.add_argument("--label", default="", metavar="LABEL", help="of the deployments; default: the workspace's folder")
    one.add_argument("--paused", action="store_true", help="register without running: resume on Prefect's pages")
    one.add_argument("--port", type=int, default=4200, help="of Prefect's pages, where the server is started here")

    one = command("ingest-check", _ingest_check, "look at a folder or a table: what corpus would it become?")
    one.add_argument("path", type=lambda name: Path(name).absolute(), metavar="PATH")
    one.add_argument("--write", metavar="NAME", help="write the configuration to params/corpus/NAME.yaml")

    one = command("ui", _ui, "start the MLflow UI on loopback")
    one.add_argument("--port", type=int, default=UI_PORT)

    one = command("doctor", _doctor, "check this machine: versions, cores, memory, disk, tools")
    one.add_argument("--json", action="store_true")
    return top


def _plan(args: argparse.Namespace) -> None:
    from flows import compose
    from stages.common import atomic
    from stages.common.plan import SECTIONS

    chosen = args.systems or ["quickstart"]
    if args.check:
        data, typed = compose.make(Path(), chosen, args.set, args.scale)
    else:
        typed = compose.write(Path(), chosen, args.set, args.scale)
        data = compose.plan.read(Path("params.yaml"))
    if args.json:
        atomic.write_json(args.json, data)
    counts = ", ".join(f"{len(getattr(typed, s))} {s}" for s in SECTIONS.values())
    print(f"{'checked' if args.check else 'params.yaml'}: {' '.join(chosen)}: {counts}")


def _run(args: argparse.Namespace) -> int:
    from flows import compose, pipeline
    from flows.scale import SMALL
    from flows.scoreboard import print_scoreboard
    from stages.common.plan import SECTIONS

    systems = [t for t in args.targets if not {"@", "/"} & set(t) and t not in (*SECTIONS, "report")]
    targets = [t for t in args.targets if t not in systems] or None
    if args.scale != SMALL and not systems:
        raise UserError("--scale is of the systems to plan, and none is named", where="prelude run", do="name one: simclr")
    if not systems and not Path("params.yaml").exists():
        systems = ["quickstart"]
    if args.dry:
        from flows import dry

        with compose.looked_at(Path(), systems, args.scale) if systems else nullcontext():
            print(dry.text(dry.foresee(Path(), targets, force=args.force)))
        return 0
    if systems:
        compose.write(Path(), systems, size=args.scale, wait=args.wait)
    if args.pull:
        from flows import remote

        print(f"restored from DVC's remote: {len(remote.pull(Path(), targets, wait=args.wait))}", flush=True)
    outcome = pipeline.run(
        targets, args.force, keep_going=args.keep_going, workers=args.workers, wait=args.wait, prefect=args.prefect
    )
    if not outcome.stopped:
        print_scoreboard(Path(), compose.plan.load(Path("params.yaml")).systems)
    code = 130 if outcome.stopped else 1 if outcome.failed else 0
    if outcome.lost_prefect:  # all is written; threads of its client wait for a server that is gone
        sys.stdout.flush()
        os._exit(code)
    return code


def _sweep(args: argparse.Namespace) -> int:
    from flows.sweep.command import Request, sweep

    given = {"systems": args.system, "overrides": args.set, "draws": args.random}
    same = ("words", "seed", "select", "name", "dry", "keep_going", "workers", "wait", "prefect")
    return sweep(Path(), Request(**given, **{name: getattr(args, name) for name in same}))


def _systems(args: argparse.Namespace) -> None:
    from flows import scoreboard

    if args.commit:
        print(f"written: {scoreboard.commit(Path(), args.commit)}")
        return
    found = scoreboard.systems(Path())
    if args.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        scoreboard.print_scoreboard(Path())


def _show(args: argparse.Namespace) -> None:
    from flows import show

    record = show.record(Path(), args.node)
    print(json.dumps(record, indent=1, ensure_ascii=False) if args.json else show.text(record))


def _verify(args: argparse.Namespace) -> int:
    from flows import verify
    from flows.alone import alone
    from stages.common.workspace import Workspace

    with alone(Workspace(), "prelude verify --repair") if args.repair else nullcontext():
        found = verify.damaged(Path())
        done = verify.repair(Path(), found) if args.repair and found else None
    print(json.dumps([d.__dict__ for d in found], indent=1) if args.json else verify.text(found, done))
    return 0 if not found or args.repair else 1


def _serve(args: argparse.Namespace) -> int:
    from flows.schedules import serve

    when, what = (args.cron, args.interval, args.timezone), (args.corpus, args.system, args.notify)
    return serve.serve(Path(), serve.Wish(args.names, *when, *what, args.label, args.paused), args.port)


def _ingest_check(args: argparse.Namespace) -> None:
    from flows import ingest_check

    print(ingest_check.check(Path(), args.path, args.write))


def _ui(args: argparse.Namespace) -> int:
    from flows.tracking import ui
    from stages.common import plan

    return ui.serve(Path(), plan.load(Path("params.yaml")).tracking, args.port)


def _doctor(args: argparse.Namespace) -> int:
    from flows import doctor

    checks = doctor.checks(Path())
    print(json.dumps([c.__dict__ for c in checks], indent=1) if args.json else doctor.text(checks))
    return 0 if all(c.ok for c in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
