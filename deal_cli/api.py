"""The door for programs: what `deal restore` does, for arrays, for Frames and for files.

`import deal_cli` is light; torch is imported when a restorer is opened. docs/python.md shows it in
use, and its examples are run by the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from deal_cli.config import MAX_PIXELS
from deal_cli.errors import UsageError
from deal_cli.imaging import grey
from deal_cli.imaging.files import read_frame, write_frame
from deal_cli.imaging.formats import Pixels
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.reading import ByteOrder, Nodata, ReadAs, frame_of
from deal_cli.imaging.whole import exists, make_folder

if TYPE_CHECKING:
    from deal_cli.engine.backends.contract import Facts
    from deal_cli.engine.fidelity.measure import Fidelity
    from deal_cli.jobs.restore.outcome import Outcome
    from deal_cli.jobs.restore.plan import RestoreRequest

Array = NDArray[Any]
Range = str | tuple[float, float]


def open_restorer(
    *,
    weights: str = "deal",
    backend: str = "auto",
    tone: Literal["keep", "auto", "restore"] = "keep",
    range: Range = "auto",  # noqa: A002 (the command's flag)
    strength: float = 1.0,
    max_change: str | None = None,
    scale: int = 1,
    fixed_pattern: Literal["auto", "off"] = "auto",
    pattern: Path | str | None = None,
    unit: Literal["counts", "celsius"] = "counts",
    max_pixels: int = MAX_PIXELS,
    nodata: Nodata = "auto",
) -> Restorer:
    """Load weights and a backend, once for as many pictures as there are.

    Args:
        weights: `deal`, `deal-fast`, `paper`, or a .safetensors or .onnx file.
        backend: `auto`, `cuda`, `cuda:N`, `onnx` or `cpu`; what is asked for by name is had or
            refused.
        tone: `keep` leaves gain and offset alone.
        range: which values the network sees as 0 and 1: `auto`, `image`, `dtype`, `sequence` or a
            pair of numbers.
        strength: share of the way to the restored picture, 0 to 1.
        max_change: the most a pixel may change: `40`, `2%`, `0.5K`.
        scale: 1, 2 or 4.
        fixed_pattern: whether to look for what stands still in a sequence.
        pattern: a file of `--save-pattern`, to take off every picture.
        unit: what radiometric pictures come back in.
        max_pixels: larger pictures are refused.
        nodata: the number that stands where nothing was measured; `auto`: what files declare, and
            what is found; `none`: every number is a measurement.

    Raises:
        UsageError: an option that makes no sense; the message names the command's flag.
        BackendError: the backend asked for cannot be had.
        WeightsError: the weights are not usable.
    """
    from deal_cli.engine.backends.choice import Request
    from deal_cli.engine.fidelity.bound import parse_bound
    from deal_cli.engine.ranges import parse_range
    from deal_cli.engine.restorer import Settings
    from deal_cli.jobs.restore.plan import RestoreRequest

    sequence = range == "sequence"
    settings = Settings(
        range=parse_range("auto" if sequence else range) if isinstance(range, str) else range,
        tone=tone,
        strength=strength,
        bound=parse_bound(max_change) if max_change is not None else None,
    )
    return Restorer(
        RestoreRequest(
            inputs=(),
            out=None,
            engine=Request(backend, weights),
            settings=settings,
            scale=scale,
            read_as=ReadAs(max_pixels=max_pixels, nodata=nodata),
            unit=unit,
            sequence=sequence,
            find_pattern=fixed_pattern == "auto",
            pattern=Path(pattern) if pattern is not None else None,
        )
    )


class Restorer:
    """Restores arrays and Frames as the command restores files, pixel for pixel.

    Threads may share one. It pickles as its settings and opens anew where it is unpickled, so a
    worker process can be given one.

    Attributes:
        request: its settings, as the command has them.
    """

    def __init__(self, request: RestoreRequest) -> None:
        from deal_cli.jobs.restore.run import open_restoration

        self.request = request
        self.restoration, self.choice = open_restoration(request)

    def __reduce__(self) -> tuple[Any, ...]:
        return Restorer, (self.request,)

    @property
    def facts(self) -> Facts:
        """What restores: backend, device, precision, the weights' name and checksum."""
        return self.restoration.restorer.backend.facts

    @overload
    def __call__(self, pictures: Array, *, with_fidelity: Literal[False] = False) -> Array: ...
    @overload
    def __call__(
        self, pictures: Array, *, with_fidelity: Literal[True]
    ) -> tuple[Array, Fidelity | None]: ...
    @overload
    def __call__(self, pictures: Frame, *, with_fidelity: Literal[False] = False) -> Frame: ...
    @overload
    def __call__(
        self, pictures: Frame, *, with_fidelity: Literal[True]
    ) -> tuple[Frame, Fidelity | None]: ...
    def __call__(self, pictures: Array | Frame, *, with_fidelity: bool = False) -> Any:
        """Restore one picture, or the frames of a sequence.

        Args:
            pictures: `(H, W)`, one picture; `(N, H, W)`, frames that follow one another, with one
                range and one fixed pattern, as a stack; uint8, uint16, int16, float32 or float64 in
                the camera's own numbers, NaN where there is none. Or a `Frame`, which brings its
                calibration and metadata.
            with_fidelity: tell how far the result is from its source, too.

        Returns:
            The restored pictures in the shape, dtype and numbers of what was given (`scale` times
            as large, where it was asked for); and, if asked, their `Fidelity`, None where nothing
            was measured.

        Raises:
            PictureError: of a shape or dtype that is not restored, or too large.
        """
        if isinstance(pictures, Frame):
            frames, stacked = [pictures], None
        else:
            array = np.asarray(pictures)
            stacked = array.ndim == 3
            nodata = self.request.read_as.nodata
            frames = [_frame(picture, nodata) for picture in (array if stacked else [array])]
        restored, fidelity = self._restored(frames, as_sequence=bool(stacked))
        out: Any = restored[0]
        if stacked is not None:
            arrays = [
                grey.to_dtype(frame.values, frame.dtype, frame.metadata.nodata)
                for frame in restored
            ]
            out = np.stack(arrays) if stacked else arrays[0]
        return (out, fidelity) if with_fidelity else out

    def _restored(
        self, frames: Sequence[Frame], *, as_sequence: bool
    ) -> tuple[list[Frame], Fidelity | None]:
        from deal_cli.engine.fidelity.many import FidelityOfMany

        if not frames:
            raise UsageError("a stack of no frames", remedy="give (N, H, W) with N of 1 or more")
        restoration, told, written = self.restoration, FidelityOfMany(), list[Frame]()
        found = restoration.look_at(Path("array"), iter(frames)) if as_sequence else None
        together = restoration.capacity(frames[0])
        while len(written) < len(frames):
            some = frames[len(written) : len(written) + together]
            prepared = [restoration.prepared(frame, found) for frame in some]
            for restored in restoration.restored(prepared, found):
                written.append(restoration.written(restored.frame))
                if restored.fidelity is not None:
                    told.add(restored.fidelity)
        return written, told.result()


def read(
    path: Path | str,
    *,
    luminance: bool = False,
    max_pixels: int = MAX_PIXELS,
    nodata: Nodata = "auto",
    byte_order: ByteOrder = "auto",
    band: int | None = None,
) -> Frame:
    """One picture of a file, in the file's own numbers, with its metadata and calibration.

    Args:
        path: the file.
        luminance: turn false colour into its luminance.
        max_pixels: a larger picture is refused.
        nodata: as `open_restorer` has it.
        byte_order: of sixteen bits: `stored`, `swapped`, or `auto`, which refuses what is a
            picture only with its bytes swapped.
        band: the channel that holds the picture, from 1, where there are several.

    Raises:
        PictureError: it cannot be read, or not rightly; the message names the file and the cause.
    """
    read_as = ReadAs(luminance, max_pixels, nodata, byte_order, band)
    return read_frame(Path(path), read_as)


def write(frame: Frame, path: Path | str, *, overwrite: bool = False) -> None:
    """Write a picture in the format of the path's suffix, in its own dtype, whole or not at all.

    Raises:
        UsageError: the file exists and may not be replaced, or its format cannot hold the dtype.
        OutputError: it cannot be written.
    """
    path = Path(path)
    if exists(path) and not overwrite:
        raise UsageError("exists", file=path, remedy="give overwrite=True, or another name")
    make_folder(path.parent)
    write_frame(frame, path)


def restore_files(
    inputs: Sequence[Path | str],
    out: Path | str,
    *,
    restorer: Restorer | None = None,
    recursive: bool = False,
    overwrite: bool = False,
    luminance: bool = False,
    compression: str = "deflate",
    codec: str | None = None,
) -> Iterator[Outcome]:
    """Restore files as the command does: planned first, then one outcome a file, in order.

    Args:
        inputs: files, folders, patterns and lists, as the command takes them.
        out: a folder, or the name of one picture.
        restorer: how; with the command's defaults if none is given.
        recursive: look into the folders below a folder.
        overwrite: replace outputs that exist, which are skipped otherwise.
        luminance: turn false colour into its luminance.
        compression: of TIFFs.
        codec: of videos; lossless if none is given.

    Yields:
        What became of each file: `outcome.status`, `.error`, `.summary`, `.item.target`.

    Raises:
        UsageError: nothing to restore, two inputs for one output, and the like; nothing was tried.
    """
    from deal_cli.jobs.restore.run import Batch, plan

    restorer = restorer or open_restorer()
    request = replace(
        restorer.request,
        inputs=[str(path) for path in inputs],
        out=str(out),
        recursive=recursive,
        overwrite=overwrite,
        read_as=replace(restorer.request.read_as, luminance=luminance),
        compression=compression,
        codec=codec,
    )
    planned = plan(request)
    return Batch(planned, replace(restorer.restoration, request=request), restorer.choice).run()


def _frame(array: Array, nodata: Nodata) -> Frame:
    if array.ndim != 2:
        raise UsageError(
            f"an array of the shape {array.shape}",
            remedy="give (H, W), or (N, H, W) for a sequence",
        )
    return frame_of(Pixels(array), ReadAs(nodata=nodata, byte_order="stored"))
