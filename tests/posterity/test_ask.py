"""`posterity ask` and the server of the Model Context Protocol, on a tiny run."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from posterity._app import main
from tests.analyst.conftest import run as run

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}


@pytest.fixture
def command(capsys):
    """`posterity ask` in this process: exit code and what it printed."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["ask", *map(str, arguments)])
        printed = capsys.readouterr()
        return SimpleNamespace(returncode=ended.value.code or 0, stdout=printed.out, stderr=printed.err)

    return call


def test_ask_answers_refuses_and_complains(run, command):
    answered = command(
        "--from", run, "How many cases were reported in North in the week ending 6 April 2030?", "--plain", "--json"
    )
    assert answered.returncode == 0, answered.stderr
    found = json.loads(answered.stdout)
    assert found["struck"] == []
    assert found["results"][0]["values"][0]["origin"]["file"] == "posterior.nc"
    refused = command("--from", run, "How many deaths were there in North?", "--plain")
    assert refused.returncode == 1
    assert "no quantity 'deaths'" in refused.stdout
    for wrong in (("--from", "nowhere", "How many cases?", "--plain"), ("--from", run, "How many cases?")):
        said = command(*wrong)
        assert said.returncode == 2
        assert said.stderr.count("\n") == 1


def test_the_server_answers_a_client_over_standard_input_and_output(run):
    mcp = pytest.importorskip("mcp")
    anyio = pytest.importorskip("anyio")

    async def session():
        server = mcp.StdioServerParameters(
            command=sys.executable, args=["-m", "posterity.mcp", "--from", str(run), "--draws", "2"], env=ENVIRONMENT
        )
        async with mcp.Client(server) as client:
            names = {t.name for t in (await client.list_tools()).tools}
            asked = await client.call_tool("observed", {"stream": "cases", "place": "North", "week": "2030-04-06"})
            number = asked.structured_content["values"][0]["value"]
            progress = []

            async def told(done, total, message):
                progress.append((done, total))

            what_if = await client.call_tool("scenario", {"output": "cases", "factor": 0.21}, progress_callback=told)
            draft = await client.call_tool("check_answer", {"text": f"{number:,.0f} cases and 987,654 deaths"})
            outside = await client.call_tool("figure", {"name": "../../etc/passwd"})
        return names, progress, what_if.structured_content, draft.structured_content, outside.structured_content

    names, progress, what_if, draft, outside = anyio.run(session)
    assert {"summary", "forecast", "scenario", "cannot", "check_answer"} <= names
    assert not what_if["refused"], what_if["text"]
    assert progress[-1] == (4.0, 4.0)
    assert draft["struck"] == ["987,654"]
    assert outside["refused"]
