"""``regtorch-plugins``: list the installed plugins with their components and errors."""

from __future__ import annotations

import logging
import sys

from regtorch.cli.help_page import print_requested_help
from regtorch.config.plugin_options import plugin_nodes
from regtorch.registry.plugins import GROUP, loaded
from regtorch.system import output
from regtorch.system.exit_status import exit_with

_HELP = """\
List the installed plugins: regtorch-plugins

For each plugin: its package, its components with the modules that define them, and, if it is broken, the reason.
"""


def main() -> None:
    """List the plugins."""
    exit_with(_main)


def _main() -> int:
    if print_requested_help(sys.argv[1:], lambda: _HELP):
        return 0
    from rich.table import Table

    logging.getLogger("regtorch.plugins").setLevel(logging.ERROR)  # the reasons are printed below the table
    plugins = loaded()
    plugin_nodes()  # reads their configurations too
    console = output.console()
    if not console.is_terminal:
        console.width = max(console.width, 120)
    if not plugins:
        console.print(f"no plugin is installed (a package declares one as an entry point of the group {GROUP})")
        return 0
    table = Table(box=None, pad_edge=False)
    for column in ("plugin", "package", "adds", "from"):
        table.add_column(column, overflow="fold")
    for plugin in plugins:
        for component in plugin.components:
            table.add_row(plugin.name, plugin.package, f"{component.kind}={component.name}", component.owner)
        if plugin.reason:
            table.add_row(plugin.name, plugin.package, "broken", plugin.module)
    console.print(table)
    for plugin in plugins:
        if plugin.reason:
            console.print(f"{plugin.name} is left out: {plugin.reason}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    main()
