"""Check the settings and what pip can't install: a library for MuJoCo to draw with, room on the disk and in memory.

A wrong key in params.yaml is named here, before DVC removes the outputs of the stage that would name it.

Prints the value that MUJOCO_GL should have to standard output and everything else to standard error. A missing library
is installed where that is possible without asking (root on a machine with apt); elsewhere the exact command is printed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from rich.console import Console

from stages.runner import read_params
from vjepa.errors import UserError

BACKENDS = ("egl", "osmesa")
DRAW = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light pos='0 0 2'/><geom size='.1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 16, 16) as renderer:
    renderer.update_scene(data)
    assert renderer.render().any()
"""
INSTALL = {
    "apt-get": ["apt-get", "install", "-y", "libegl1", "libgl1", "libopengl0", "libgl1-mesa-dri"],
    "dnf": ["dnf", "install", "-y", "mesa-libEGL", "libglvnd-opengl", "mesa-dri-drivers"],
}
COLLECT = "collect"
"""The stage that simulates episodes."""
DISK_GB = 5
MEMORY_GB = 8

console = Console(stderr=True, soft_wrap=True)


def drawing_backend() -> str | None:
    """The first of MuJoCo's backends that draws a picture here; MUJOCO_GL, where it is set, is the only one tried."""
    chosen = os.environ.get("MUJOCO_GL")
    return next((backend for backend in ((chosen,) if chosen else BACKENDS) if draws(backend)), None)


def draws(backend: str) -> bool:
    """Whether a fresh process can draw with `backend`; a broken driver may end the process that tries it."""
    environment = {**os.environ, "MUJOCO_GL": backend}
    return (
        subprocess.run([sys.executable, "-c", DRAW], env=environment, capture_output=True, check=False).returncode == 0
    )


def install_command() -> list[str] | None:
    """The command that installs an EGL library on this machine, None if its package manager isn't known."""
    return next((command for tool, command in INSTALL.items() if shutil.which(tool)), None)


def install(command: list[str]) -> bool:
    """Run `command`, after bringing apt's lists up to date; says whether that went well."""
    steps = [["apt-get", "update"], command] if command[0] == "apt-get" else [command]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # What they print goes to standard error: standard output is for the backend's name alone
    return all(subprocess.run(step, env=environment, stdout=sys.stderr, check=False).returncode == 0 for step in steps)


def warnings(folder: Path) -> list[str]:
    """What may go wrong later on this machine, one line each."""
    found = []
    if shutil.which("git") is None:
        found.append("git is not installed: metrics and models will not name the revision that made them")
    free = shutil.disk_usage(folder).free / 1e9
    if free < DISK_GB:
        found.append(f"{free:.1f} GB are free on the disk, the default profile wants {DISK_GB} GB")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    if memory < MEMORY_GB:
        found.append(f"the machine has {memory:.1f} GB of memory, the default profile wants {MEMORY_GB} GB")
    return found


def main() -> None:
    """Check, install or say how to; exits with 1 where settings can't be used or nothing can draw."""
    try:
        params = read_params()
    except UserError as error:
        console.print("[bold red]settings can't be used:[/] ", end="")
        console.print(str(error), markup=False)
        sys.exit(1)
    for warning in warnings(Path()):
        console.print(f"[yellow]warning:[/] {warning}")
    collect = yaml.safe_load(Path("dvc.yaml").read_text())["stages"].get(COLLECT)
    if not params["plan"].closed_loop and (collect is None or collect.get("frozen")):
        sys.stdout.write("disabled\n")  # own data, offline planning: nothing is simulated
        return
    backend = drawing_backend()
    command = install_command()
    chosen = os.environ.get("MUJOCO_GL")
    if backend is None and command and command[0] == "apt-get" and os.geteuid() == 0 and not chosen:
        console.print(f"MuJoCo finds no library to draw with; installing one: {' '.join(command)}")
        backend = drawing_backend() if install(command) else None
    if backend is None:
        what = f"with MUJOCO_GL={chosen}" if chosen else "with either of EGL and OSMesa"
        advice = f"install it with: sudo {' '.join(command)}" if command else "install Mesa's EGL library"
        console.print(f"[bold red]MuJoCo can't draw here {what}[/]: {advice}")
        sys.exit(1)
    sys.stdout.write(f"{backend}\n")


if __name__ == "__main__":
    main()
