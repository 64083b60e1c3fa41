"""`python -m posterity.mcp --from RUN`: the analyst as a server of the Model Context Protocol on standard input and output.

Any client of the protocol becomes the analyst: the tools are those of `epi.analyst`, and `check_answer` says which numbers of a draft no
tool of the session found.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from posterity._packages import claim_packages

claim_packages()

from epi.analyst import TOOLS, Result, Source, Tool, Toolbox, check  # noqa: E402
from epi.analyst.answer import labels_of  # noqa: E402
from epi.analyst.asker import instructions  # noqa: E402
from epi.errors import StudyError  # noqa: E402
from posterity.commands.errors import one_sentence  # noqa: E402
from posterity.commands.usage import run as run_module  # noqa: E402

__all__ = ["main", "serve"]

KEPT = 200
"""Results of a session against which a draft is checked."""


def serve(box: Toolbox) -> Any:
    """A server with the tools over a run; `.run("stdio")` serves it.

    Raises:
        StudyError: the package mcp is not installed.
    """
    try:
        import anyio
        from mcp.server import MCPServer
        from mcp.server.mcpserver import Context
    except ImportError as error:
        raise StudyError(
            "The server needs the package mcp, which is not installed; install posterity with the extra [ask]."
        ) from error
    server = MCPServer("posterity", instructions=instructions(box))
    session: list[Result] = []

    def wrapped(tool: Tool) -> Callable[..., Any]:
        async def call(ctx: Context, **arguments: Any) -> dict[str, Any]:
            loop_progress = None
            if tool.simulates:

                def loop_progress(done: int, total: int) -> None:
                    anyio.from_thread.run(ctx.report_progress, float(done), float(total))

            here = Toolbox(_with_progress(box.source, loop_progress))
            result = await anyio.to_thread.run_sync(lambda: here.call(tool.name, arguments))
            session.append(result)
            del session[:-KEPT]
            return result.to_dict()

        own = list(inspect.signature(tool.run, eval_str=True).parameters.values())[1:]
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        first = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Context)
        call.__signature__ = inspect.Signature([first, *own], return_annotation=dict[str, Any])  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in (first, *own)} | {"return": dict[str, Any]}
        call.__name__ = tool.name
        return call

    for tool in TOOLS.values():
        server.add_tool(wrapped(tool), name=tool.name, description=tool.description)

    def check_answer(text: str) -> dict[str, Any]:
        """Check a draft: its text with every number struck out that no tool of this session found, and the numbers by name."""
        found = check(text[:20_000], session, labels_of(box))
        return {
            "text": found.text,
            "struck": list(found.struck),
            "verified": [{"number": n, "is": w} for n, w in found.found],
        }

    server.add_tool(check_answer, name="check_answer", description=inspect.getdoc(check_answer))
    return server


def _with_progress(source: Source, progress: Callable[[int, int], None] | None) -> Source:
    """The source with another listener; files that were read and checksums are shared."""
    if progress is None:
        return source
    other = Source(source.folder, source.seconds, source.draws, source.scale, progress, source.apart, source._hashes)
    other.__dict__["files"] = source.files
    return other


def main(
    source: Annotated[Path, typer.Option("--from", metavar="RUN", help="Folder of a finished calibration.")],
    draws: Annotated[int, typer.Option(help="Posterior draws of a simulation.")] = 32,
    scale: Annotated[
        float | None, typer.Option(help="Agents per person of simulations; default the run's own.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time limit of one simulation.")] = 300.0,
) -> None:
    """Serve the analyst of a run on standard input and output until the client leaves."""
    with one_sentence(Console(stderr=True)):
        box = Toolbox(Source(source, seconds, draws, scale))
        _ = box.source.files.manifest, box.source.study
        server = serve(box)
    server.run("stdio")


if __name__ == "__main__":
    run_module(main)
    sys.exit(0)
