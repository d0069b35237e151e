"""`vjepa` and its commands; each lives in a module of its own, which is imported when it is asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from vjepa.errors import UserError

COMMANDS = {
    "models": "list the sizes of V-JEPA 2, 2.1 and 2-AC with parameters, tokens and memory",
    "checkpoint": "say what a file of weights holds, or convert it between the official and transformers' form",
    "encode": "write the features of videos",
    "train": "say what training takes: parameters, steps, work and memory (with --dry-run; DVC trains)",
    "data": "say what a data set of robot episodes is and what is wrong with it",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exits with 1 and one line on standard error where the user can mend what is wrong."""
    parser = argparse.ArgumentParser(prog="vjepa", description="V-JEPA 2: models, weights, features and data.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    given = list(sys.argv[1:] if arguments is None else arguments)
    chosen = next((word for word in given if word in COMMANDS), None)
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        if name == chosen:
            try:
                import_module(f"vjepa.cli.{name}").add_arguments(command)
            except ModuleNotFoundError as error:
                sys.exit(f"vjepa {name} needs the package {error.name}: install vjepa with its extra, vjepa[pipeline]")
    options = parser.parse_args(given)
    try:
        options.run(options)
    except UserError as error:
        sys.exit(f"vjepa {options.command}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"vjepa {options.command} was stopped")


if __name__ == "__main__":
    main()
