"""The command line: parse, one call, print. The only place that exits."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import deal_cli
from deal_cli.config import MAX_PIXELS
from deal_cli.errors import DealError, ExitCode, UsageError

if TYPE_CHECKING:
    from deal_cli.engine.backends.choice import Choice
    from deal_cli.engine.backends.contract import Facts
    from deal_cli.jobs.evaluate.evaluation import Form
    from deal_cli.jobs.evaluate.run import RunFacts

# Typer may carry a Click of its own; its errors are all children of this class.
_ClickError = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="deal",
    help="Restore thermal infrared pictures: stripes, noise, blur, low resolution, low contrast.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
weights_app = typer.Typer(
    help="List and verify the bundled weights, and fetch others.", no_args_is_help=True
)
app.add_typer(weights_app, name="weights")

Backend = Annotated[
    str, typer.Option(help="auto, cuda, cuda:N, onnx or cpu. auto says what it chose.")
]
Weights = Annotated[
    str, typer.Option(help="deal, deal-fast, paper, or a .safetensors or .onnx file.")
]
ToneChoice = Annotated[
    Literal["auto", "keep", "restore"],
    typer.Option(
        help="auto: restore lost contrast of 8-bit pictures where surely lost; keep; restore."
    ),
]


Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Look into folders below a folder.")
]
Luminance = Annotated[bool, typer.Option(help="Turn false colour into its luminance.")]
MaxPixels = Annotated[int, typer.Option(help="Refuse larger pictures before decoding them.")]
Overwrite = Annotated[bool, typer.Option(help="Replace outputs that exist.")]
Split = Annotated[
    bool, typer.Option("--split", help="Put the page's pictures beside it, for hundreds of them.")
]
RowsAsJson = Annotated[
    bool, typer.Option("--json", help="Print a JSON object a picture on stdout.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deal {deal_cli.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=_print_version,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """What stands in front of every command."""


@app.command()
def restore(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Files, folders, patterns; @FILE, a list of files and folders; or -.",
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", help="A folder; for one input a picture's name, or -."),
    ] = None,
    recursive: Recursive = False,
    backend: Backend = "auto",
    weights: Weights = "deal",
    tone: ToneChoice = "auto",
    range_: Annotated[
        str,
        typer.Option(
            "--range",
            help="Values the network sees as 0 to 1: auto, image, dtype, LO:HI; or sequence, "
            "auto over all pictures of a folder, which follow one another.",
        ),
    ] = "auto",
    max_change: Annotated[
        str | None,
        typer.Option(
            metavar="VALUE[UNIT]",
            help="The most a pixel may change: 40 (its own numbers), 2%, 0.5K, 500mK.",
            show_default="no limit",
        ),
    ] = None,
    unit: Annotated[
        Literal["counts", "celsius"],
        typer.Option(help="What radiometric files are written in; celsius for FLIR's."),
    ] = "counts",
    fixed_pattern: Annotated[
        Literal["auto", "off"],
        typer.Option(
            help="auto: find what stands still in a sequence while the scene moves, and take it "
            "off every frame; off."
        ),
    ] = "auto",
    pattern: Annotated[
        Path | None, typer.Option(help="A fixed pattern that --save-pattern wrote, to take off.")
    ] = None,
    save_pattern: Annotated[
        Path | None, typer.Option(help="Keep the fixed pattern of the one sequence given.")
    ] = None,
    compression: Annotated[
        str, typer.Option(help="Of TIFFs: deflate, lzw, zstd or none; all lossless.")
    ] = "deflate",
    codec: Annotated[
        str | None,
        typer.Option(
            help="Of videos: ffv1, rawvideo, h264, hevc, mjpeg.", show_default="ffv1, lossless"
        ),
    ] = None,
    scale: Annotated[int, typer.Option(help="Enlarge by 1, 2 or 4 before restoring.")] = 1,
    strength: Annotated[
        float, typer.Option(help="Share of the way to the restored picture, 0 to 1.")
    ] = 1.0,
    luminance: Luminance = False,
    max_pixels: MaxPixels = MAX_PIXELS,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write a page that shows them before and after."),
    ] = None,
    split: Split = False,
    overwrite: Overwrite = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would be done, and do nothing.")] = False,
    as_json: RowsAsJson = False,
    quiet: Quiet = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Print a line a file.")] = False,
) -> None:
    """Restore pictures with the bundled weights, in their own dtype and numbers."""
    from deal_cli.engine.backends.choice import Request
    from deal_cli.engine.fidelity.bound import parse_bound
    from deal_cli.engine.ranges import parse_range
    from deal_cli.engine.restorer import Settings
    from deal_cli.jobs.display import Display, RestoreReport
    from deal_cli.jobs.page.page import check_page
    from deal_cli.jobs.report.run import RunPage, facts_of_engine, facts_of_run, facts_of_settings
    from deal_cli.jobs.restore.plan import RestoreRequest
    from deal_cli.jobs.restore.run import open_batch, rehearse

    sequence = range_ == "sequence"
    request = RestoreRequest(
        inputs=inputs,
        out=out,
        engine=Request(backend, weights),
        settings=Settings(
            range="auto" if sequence else parse_range(range_),
            tone=tone,
            strength=strength,
            bound=parse_bound(max_change) if max_change is not None else None,
        ),
        scale=scale,
        luminance=luminance,
        recursive=recursive,
        overwrite=overwrite,
        max_pixels=max_pixels,
        unit=unit,
        compression=compression,
        codec=codec,
        sequence=sequence,
        find_pattern=fixed_pattern == "auto",
        pattern=pattern,
        save_pattern=save_pattern,
        show=report is not None,
    )
    if split and report is None:
        raise UsageError("--split is of a report's page", remedy="give --report FILE.html")
    if as_json and (out == "-" or (out is None and inputs == ["-"])):
        raise UsageError("--json and the picture would share stdout", remedy="give -o a file")
    with Display(quiet=quiet) as display:
        told = RestoreReport(display, as_json=as_json, quiet=quiet, verbose=verbose)
        if report is not None:
            check_page(report, split=split, overwrite=overwrite)
        if dry_run:
            told.follow(rehearse(request))
        else:
            batch = open_batch(request)
            page = RunPage(report, split=split, overwrite=overwrite) if report else None
            facts = batch.restoration.restorer.backend.facts
            batch.restoration.progress = display.frames
            if not quiet:
                display.say(_chosen(batch.choice, facts))
                batch.restoration.say = display.say
            outcomes = batch.run()
            if page is not None:
                made = (*facts_of_run(sys.argv[1:]), *facts_of_engine(batch.choice, facts))
                outcomes = page.follow(outcomes, (*made, *facts_of_settings(request)))
            told.follow(outcomes, len(batch.planned), facts)
            if page is not None and page.error is not None:
                raise page.error
            if page is not None and not quiet:
                display.say(f"deal: {report}: {page.size}")
            if save_pattern is not None and batch.restoration.unsaved is not None:
                cause = f"was not written: {batch.restoration.unsaved}"
                raise DealError(cause, file=save_pattern, remedy="give a clip in which things move")
    if told.failed:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def report(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A picture, or a folder.")],
    after: Annotated[
        Path, typer.Argument(metavar="AFTER", help="The same, restored; names pair them.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.html", help="The page.")] = Path(
        "report.html"
    ),
    split: Split = False,
    recursive: Recursive = False,
    luminance: Luminance = False,
    max_pixels: MaxPixels = MAX_PIXELS,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write one page that shows pictures before and after, whatever restored them."""
    from deal_cli.jobs.display import Display
    from deal_cli.jobs.report.run import ReportRequest
    from deal_cli.jobs.report.run import report as run

    request = ReportRequest(
        before, after, out, split, recursive, luminance, max_pixels, overwrite, (*sys.argv[1:],)
    )
    with Display(quiet=quiet) as display:
        made = run(request, display.progress)
        for error in made.failed:
            display.say(f"deal: {error}")
        if not quiet:
            for path in made.unpaired:
                display.say(f"deal: {path}: has no partner, left out")
            display.say(f"deal: {made.size}")
    typer.echo(out)
    if made.failed:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the pictures and the page.")
    ] = Path("deal-demo"),
    backend: Backend = "auto",
    weights: Weights = "deal",
    overwrite: Annotated[bool, typer.Option(help="Write into a folder that holds files.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Draw scenes, degrade and restore them, and show that on a page: a first minute."""
    from deal_cli.engine.backends.choice import Request
    from deal_cli.jobs.demo import demo as run
    from deal_cli.jobs.display import Display

    with Display() as display:
        engine = Request(backend, weights)
        made = run(
            engine,
            out,
            overwrite=overwrite,
            command=sys.argv[1:],
            on_progress=display.progress,
        )
        display.say(f"deal: {made}")
    typer.echo(made.page)
    if open_:
        typer.launch(str(made.page))


@app.command()
def degrade(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Files, folders, patterns; @FILE, a list. None: scenes are drawn.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", "-o", help="A folder; for one picture its name.")
    ] = "degraded",
    severity: Annotated[
        str | None,
        typer.Option(help="min, low, medium, high, max, or 0 to 1.", show_default="medium"),
    ] = None,
    ops: Annotated[
        str | None,
        typer.Option(help="What may be chosen, separated by commas: stripe,blur,tone."),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(help="Degraded pictures of each input; scenes.", show_default="1; 8 scenes"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of everything drawn.", show_default="0")
    ] = None,
    pairs: Annotated[
        bool, typer.Option(help="Write what was degraded too: OUT/clean, OUT/degraded.")
    ] = False,
    replay: Annotated[
        Path | None, typer.Option(help="A sidecar, to make the same pixels again.")
    ] = None,
    recursive: Recursive = False,
    backend: Annotated[str, typer.Option(help="auto, cuda, cuda:N or cpu.")] = "auto",
    weights: Annotated[
        str, typer.Option(help="Of the generator: a bundled name or a .safetensors file.")
    ] = "generator",
    luminance: Luminance = False,
    max_pixels: MaxPixels = MAX_PIXELS,
    overwrite: Overwrite = False,
    as_json: RowsAsJson = False,
    quiet: Quiet = False,
) -> None:
    """Degrade pictures, or drawn scenes, as the degradation generator chooses."""
    from deal_cli.engine.backends.choice import Request
    from deal_cli.jobs.degrade.plan import DegradeRequest
    from deal_cli.jobs.degrade.run import open_batch
    from deal_cli.jobs.display import DegradeReport, Display

    request = DegradeRequest(
        inputs or (),
        out,
        Request(backend, weights),
        severity,
        ops,
        count,
        seed,
        pairs,
        replay,
        recursive,
        luminance,
        max_pixels,
        overwrite,
    )
    with Display(quiet=quiet) as display:
        report = DegradeReport(display, as_json=as_json, quiet=quiet)
        batch = open_batch(request)
        if not quiet:
            display.say(f"deal: {batch}")
        report.follow(batch.run(), len(batch.tasks))
    if report.failed:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder of clean pictures.")],
    val: Annotated[
        Path | None,
        typer.Option(help="Clean pictures to choose weights by; else scenes of --data are kept."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the run; else runs/ and the name of --data."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    init: Annotated[
        str | None,
        typer.Option(help="Weights to start from: a name, a file, or none.", show_default="deal"),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out.")] = False,
    budget: Annotated[
        str | None, typer.Option(help="A time or steps: 30m, 2h, 20000steps.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of everything drawn.", min=0, show_default="0")
    ] = None,
    backend: Annotated[str, typer.Option(help="auto, cuda, cuda:N or cpu.")] = "auto",
) -> None:
    """Train the enhancer against its adversary on a folder of clean pictures."""
    import dataclasses

    from deal_cli.config import TrainConfig
    from deal_cli.engine.backends.choice import Purpose, Request, choose
    from deal_cli.jobs.display import TrainDisplay
    from deal_cli.jobs.train.budget import Budget, parse_budget
    from deal_cli.jobs.train.run import TrainRequest
    from deal_cli.jobs.train.run import train as run
    from deal_cli.mapping import load_toml

    folder = out or Path("runs") / data.absolute().name
    if resume and (config, budget, seed, init) != (None, None, None, None):
        raise UsageError(
            "a resumed run keeps its own settings",
            file=folder,
            remedy="leave out --config, --budget, --seed and --init, or --resume",
        )
    settings = load_toml(TrainConfig, config) if config else TrainConfig()
    if seed is not None:
        settings = dataclasses.replace(settings, seed=seed)
    choice = choose(Request(backend), Purpose.TRAINING)
    start = None if init == "none" else init or "deal"
    limit = parse_budget(budget) if budget else Budget()
    request = TrainRequest(data, folder, val, start, resume, settings, limit, choice)
    with TrainDisplay() as display:
        best = run(request, display)
    if display.first:
        typer.echo(f"deal restore --weights {best / 'enhancer.safetensors'} -o restored INPUT...")


@app.command()
def export(
    weights: Annotated[
        str, typer.Option(help="deal, deal-fast, paper, or a .safetensors file.")
    ] = "deal",
    onnx: Annotated[bool, typer.Option("--onnx", help="The format to write: ONNX.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file; else the weights' name and .onnx, here."),
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16"], typer.Option(help="Of weights and computation.")
    ] = "fp32",
    opset: Annotated[
        int | None, typer.Option(help="Version of ONNX's operators, 15 to 26.", show_default="18")
    ] = None,
    fixed: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="The only height and width to take, one picture at a time.",
            show_default="any size and batch",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a file that exists.")] = False,
) -> None:
    """Write weights as an ONNX file that other programs can run, once it is verified."""
    from deal_cli.jobs.display import Display
    from deal_cli.jobs.weights.export import ExportRequest
    from deal_cli.jobs.weights.export import export as run

    request = ExportRequest(weights, onnx, out, precision, opset, fixed, overwrite)
    with Display() as display:
        display.progress(0, None, "exporting")
        exported = run(request)
        display.say(f"deal: {exported}")
    typer.echo(exported.command)


@app.command()
def evaluate(
    clean: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR...", help="Folders of clean pictures.", show_default=False),
    ] = None,
    degraded: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR...",
            help="Folders of degraded pictures: beside --clean, paired by name; alone, scored "
            "without clean ones.",
            show_default="the named degradations of --clean",
        ),
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(metavar="[DIR...]", hidden=True)] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Named degradations, separated by commas.", show_default="all eleven"),
    ] = None,
    per_set: Annotated[
        int | None,
        typer.Option(
            help="Pictures of each folder, evenly spaced.",
            show_default="10; all with --degraded",
        ),
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option(
            help="Edge of the centre crop in pixels.",
            show_default="320; whole pictures with --degraded",
        ),
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Score classical methods beside the weights.")
    ] = False,
    backend: Backend = "auto",
    weights: Weights = "deal",
    tone: ToneChoice = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print means, pictures and settings as JSON on stdout.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print a line for each picture and method on stdout.")
    ] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table in Markdown on stdout.")
    ] = False,
    write: Annotated[bool, typer.Option(help="Write the tables into docs/benchmarks.md.")] = False,
) -> None:
    """Score the weights, on named degradations of clean pictures or on pictures of your own."""
    from rich.console import Console

    from deal_cli.engine.backends.choice import Request
    from deal_cli.engine.restorer import Settings, open_restorer
    from deal_cli.jobs.display import Display
    from deal_cli.jobs.evaluate.run import evaluate as run
    from deal_cli.jobs.evaluate.run import facts_of, methods_of, write_benchmarks
    from deal_cli.jobs.protocol.cases import Selection
    from deal_cli.jobs.protocol.tasks import TASKS

    forms: dict[Form, bool] = {"json": as_json, "csv": as_csv, "markdown": as_markdown}
    if sum(forms.values()) > 1:
        raise UsageError("two forms for one stdout", remedy="give one of --json, --csv, --markdown")
    chosen = tuple(task.strip() for task in tasks.split(",")) if tasks else TASKS
    selection = Selection(*_folders(clean, degraded, more), chosen, per_set, crop)
    if selection.degraded and (tasks or write):
        flag = "--write" if write else "--tasks"
        remedy = f"leave out {flag}, or --degraded"
        raise UsageError(f"{flag} is for the named degradations", remedy=remedy)
    selection.subjects()  # a wrong folder is told before any weights are loaded
    settings = Settings(tone=tone)
    restorer, choice = open_restorer(Request(backend, weights), settings)
    engine, methods = restorer.backend.facts, methods_of(restorer, baselines=baselines)
    form = next((form for form, asked in forms.items() if asked), None)
    with Display(quiet=form is not None) as display:
        display.say(_chosen(choice, engine))
        evaluation = run(methods, selection, facts_of(engine, settings), display.progress)
        for error in evaluation.failed:
            display.say(f"deal: {error}")
    if form is None:
        console = Console(highlight=False)
        console.print(evaluation.table(console.width))
        console.print(evaluation.selection(), markup=False)
    else:
        typer.echo(evaluation.text(form))
    if write:
        write_benchmarks(evaluation, Path("docs/benchmarks.md"), _run_facts(engine))
    if evaluation.failed:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def bench(
    backend: Annotated[
        str, typer.Option(help="all that this machine has; or auto, cuda, cuda:N, onnx, cpu.")
    ] = "all",
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH", help="Width and height.", show_default="320x256, 640x512, 1280x1024"
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Pictures of a batch.", show_default="1 and 8")
    ] = None,
    weights: Weights = "deal",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a row on stdout.")
    ] = False,
    write: Annotated[bool, typer.Option(help="Write the table into docs/benchmarks.md.")] = False,
) -> None:
    """Time the network on this machine, and set it against the machine's best."""
    from deal_cli.engine.backends.choice import Request
    from deal_cli.jobs.bench.run import BenchRequest, parse_size
    from deal_cli.jobs.bench.run import bench as run
    from deal_cli.jobs.bench.table import print_rows, write_speed

    edges = parse_size(size) if size is not None else None
    request = BenchRequest(Request(backend, weights), edges, batch)
    result = run(request, lambda text: typer.echo(text, err=True))
    print_rows(result.rows, as_json=as_json)
    if write and result.rows:
        write_speed(result.rows, Path("docs/benchmarks.md"), sys.argv[1:])
    if not result.complete:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def doctor() -> None:
    """Examine backends, devices, processor, weights and versions, and say what is wrong."""
    from rich.console import Console

    from deal_cli.jobs.doctor import examine

    console = Console(highlight=False, soft_wrap=True)
    signs = {"ok": "[green]ok[/]    ", "absent": "[dim]absent[/]", "wrong": "[red]wrong[/] "}
    wrong = 0
    for finding in examine():
        wrong += finding.state == "wrong"
        remedy = f"; {finding.remedy}" if finding.remedy else ""
        console.print(f"{signs[finding.state]}  {finding.name:22}  ", end="")
        console.print(f"{finding.detail}{remedy}", markup=False)
    if wrong:
        raise DealError(f"{wrong} wrong", remedy="see the lines above")


@weights_app.command("list")
def list_weights(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a file on stdout.")
    ] = False,
) -> None:
    """List the bundled weights, as their files say what they are."""
    from deal_cli.jobs.weights.run import Examined, examine, print_rows

    found = [*examine()]
    print_rows([row for row in found if isinstance(row, Examined)], as_json=as_json)
    _fail_all([error for error in found if isinstance(error, DealError)])


@weights_app.command("verify")
def verify_weights(
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME_OR_FILE",
            help="Bundled names, and files of your own. None: all that are bundled.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Verify that weights have their checksums and load as what they say they are."""
    from deal_cli.jobs.weights.run import examine

    failed = []
    for found in examine(given or ()):
        if isinstance(found, DealError):
            failed.append(found)
        else:
            typer.echo(found)
    _fail_all(failed)


@weights_app.command("pull")
def pull_weights(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the file NAME.safetensors.")],
    repo: Annotated[str, typer.Option(metavar="OWNER/NAME", help="A model repository of the Hub.")],
    revision: Annotated[
        str, typer.Option(metavar="COMMIT", help="All 40 hex digits of a commit, which stays.")
    ],
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="What the file's SHA-256 has to be.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Fetch weights from the Hugging Face Hub, unless they are in its cache, and print the path."""
    from deal_cli.jobs.display import Display
    from deal_cli.jobs.weights.run import PullRequest, pull

    request = PullRequest(name, repo, revision, sha256)
    with Display(quiet=quiet) as display:
        display.progress(0, None, "fetching")
        pulled = pull(request)
        if not quiet:
            display.say(f"deal: {pulled}")
    typer.echo(pulled.path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code the outcome owns."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler interrupts so
    try:
        code = app(args=arguments, prog_name="deal", standalone_mode=False)
    except DealError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            cause = f"{error.filename}: {error.strerror}; check its name and permissions"
            _fail(cause, ExitCode.USAGE)
        if not isinstance(error, _ClickError):
            raise
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "deal"
        message = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
        if not message:  # `deal` alone has printed its help
            sys.exit(ExitCode.USAGE)
        _fail(f"{message[:1].lower()}{message[1:]}; see {command} --help", ExitCode.USAGE)
    if code == ExitCode.INTERRUPTED:  # Typer turns an interruption into this code
        _fail("interrupted; finished files are whole", ExitCode.INTERRUPTED)
    sys.exit(code if isinstance(code, int) else ExitCode.OK)


def _fail(message: str, code: ExitCode) -> None:
    sys.stderr.write(f"deal: {message}\n")
    sys.exit(code)


def _fail_all(errors: Sequence[DealError]) -> None:
    """Name every error, and exit with the code of the first, if there is one."""
    for error in errors:
        typer.echo(f"deal: {error}", err=True)
    if errors:
        raise typer.Exit(errors[0].exit_code)


def _chosen(choice: Choice, facts: Facts) -> str:
    return (
        f"deal: {facts.backend} backend ({choice.reason}): {facts.device}, {facts.precision}"
        f" ({facts.note}), weights {facts.weights} {facts.sha256[:12]}"
    )


def _folders(
    clean: Sequence[Path] | None, degraded: Sequence[Path] | None, more: Sequence[Path] | None
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Clean and degraded folders; several may follow one option where it is the only one."""
    if clean and degraded and more:
        raise UsageError(
            "is it clean or degraded?", file=more[0], remedy="repeat --clean or --degraded for it"
        )
    spread = tuple(more or ())
    first, second = tuple(clean or ()), tuple(degraded or ())
    return (first, second + spread) if second else (first + spread, ())


def _run_facts(facts: Facts) -> RunFacts:
    import shlex

    from deal_cli.jobs.evaluate.run import RunFacts
    from deal_cli.jobs.protocol.benchmark_page import commit_of, describe_machine

    command = shlex.join(["deal", *sys.argv[1:]])
    machine = f"{describe_machine()}; {facts.backend} backend, {facts.precision}"
    return RunFacts(machine, commit_of(Path()), facts.weights, facts.sha256, command)
