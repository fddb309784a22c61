"""The clean pictures of a training: read, checked before anything is made, and split by scene.

Whatever is wrong with a picture is found here, by name, and not an hour into a training. Without
pictures to validate on, some of the training's own are kept for it (`holdout.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal_cli.config import TrainConfig
from deal_cli.engine.ranges import measure_range
from deal_cli.errors import UsageError
from deal_cli.imaging.files import PICTURE_SUFFIXES, read_frame
from deal_cli.imaging.gaps import fill_gaps
from deal_cli.jobs.batch.plan import natural
from deal_cli.jobs.protocol.cases import centre_crop, evenly_spaced
from deal_cli.jobs.protocol.tasks import Clean
from deal_cli.jobs.train.holdout import hold_out

if TYPE_CHECKING:
    from deal_cli.model.crops import Pyramid

SCALES = (1.0, 0.65, 0.5)  # of the training pictures; halved pictures are the sharp ones
LEAST_PICTURES = 8  # different ones, to train on
VALIDATION_CROP = 320
SMALLEST = 11  # pixels of an edge, for the window of SSIM

Unit = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a training learns from and is validated on.

    Attributes:
        training: `(H, W)` each, `[0, 1]`, their borders cut; no two are the same.
        names: the file names of `training`.
        validation: their centres, at most `VALIDATION_CROP` pixels an edge, of evenly spaced ones;
            never empty.
        split: how the validation was had, in one sentence without a full stop.
    """

    training: tuple[Unit, ...]
    names: tuple[str, ...]
    validation: tuple[Clean, ...]
    split: str

    def fingerprint(self) -> str:
        """Equal for the same pixels on the same sides."""
        units = [*self.training, *(picture.unit for picture in self.validation)]
        parts = b"".join(_fingerprint(unit) for unit in units)
        return hashlib.sha256(len(self.training).to_bytes(4) + parts).hexdigest()


def load_dataset(data: Path, val: Path | None, config: TrainConfig) -> Dataset:
    """Read and check the pictures of a training.

    Files may be of 8 or 16 bits or floats; their numbers become [0, 1] as for the restorer. Copies
    of a picture are left out.

    Args:
        data: folder of clean pictures to train on.
        val: folder of clean pictures to validate on; None keeps some of `data` for it.
        config: its crop and border, and how many pictures to validate on.

    Raises:
        UsageError: a folder that is none or is empty, a picture that is too small or holds one
            value only, or too few different pictures.
        PictureError: a picture cannot be read.
    """
    paths = _list(data, "--data")
    wanted = config.validation_pictures
    chosen = None if val is None else evenly_spaced(_list(val, "--val"), wanted)
    different: dict[bytes, tuple[Path, Unit]] = {}
    for path in paths:
        unit = _read_training(path, config)
        different.setdefault(_fingerprint(unit), (path, unit))
    _check_number(data, len(paths), len(different), held=val is None)
    names = [path for path, _ in different.values()]
    pictures = [unit for _, unit in different.values()]
    if chosen is not None:
        validation = tuple(_clean(path, _read(path, "--val")) for path in chosen)
        split = f"validation on {_count(len(chosen))} of {val}"
        return Dataset(tuple(pictures), tuple(path.name for path in names), validation, split)
    held = hold_out(pictures, LEAST_PICTURES)
    some = evenly_spaced(held.indices, wanted)
    seen = f", on {len(some)} of them" if len(some) < len(held.indices) else ""
    rest = [i for i in range(len(pictures)) if i not in set(held.indices)]
    return Dataset(
        tuple(pictures[i] for i in rest),
        tuple(names[i].name for i in rest),
        tuple(_clean(names[i], pictures[i]) for i in some),
        held.words + seen,
    )


def build_pyramid(picture: Unit, crop: int) -> Pyramid:
    """A picture at each of the training scales.

    Args:
        picture: `(H, W)`, each edge `crop` or more.
        crop: edge of a crop in pixels. A scale at which none fits is replaced by the next larger
            one, so that there are as many entries as odds.

    Returns:
        `len(SCALES)` pictures, each edge `crop` or more.
    """
    import cv2

    pyramid: list[Unit] = []
    for scale in SCALES:
        scaled = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        fits = min(scaled.shape) >= crop
        pyramid.append(np.asarray(scaled, np.float32) if fits else pyramid[-1])
    return tuple(pyramid)


def _list(folder: Path, flag: str) -> list[Path]:
    """The pictures of a folder in natural order; hidden files are left out.

    Raises:
        UsageError: no folder, none that may be listed, or no pictures.
    """
    try:
        if not folder.is_dir():
            raise UsageError(
                "is not a folder", file=folder, remedy=f"give {flag} a folder of clean pictures"
            )
        files = list(folder.iterdir())
    except OSError as error:
        cause = f"cannot be listed ({error.strerror})"
        raise UsageError(cause, file=folder, remedy="check its permissions") from error
    paths = [
        path
        for path in files
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
    ]
    if not paths:
        raise UsageError("holds no pictures", file=folder, remedy=f"give {flag} another folder")
    return sorted(paths, key=lambda path: natural(Path(path.name)))


def _read(path: Path, flag: str, border: int = 0, least: int = SMALLEST) -> Unit:
    """One picture in [0, 1], its border cut and its gaps filled.

    Raises:
        UsageError: an edge is left with fewer than `least` pixels, or with one value only.
        PictureError: it cannot be read.
    """
    frame = read_frame(path)
    inside = np.s_[border : frame.height - border, border : frame.width - border]
    values = fill_gaps(frame.values, frame.metadata.nodata, frame.absent)[0][inside]
    if min(values.shape) < least:
        size = f"{frame.width}x{frame.height}"
        if flag == "--val":
            cause, remedy = f"{size} is smaller than {least} pixels", "take it out of --val"
        else:
            within = f" within a border of {border}" if border else ""
            cause = f"{size} is too small for crops of {least}{within}"
            remedy = "set a smaller crop or border in --config, or take it out of --data"
        raise UsageError(cause, file=path, remedy=remedy)
    low, high = measure_range(frame, "auto")
    # Percentiles can be one number where a few pixels are others.
    if not high > low or values.min() == values.max():
        raise UsageError("holds one value only", file=path, remedy=f"take it out of {flag}")
    unit: Unit = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return unit.astype(np.float32)


def _read_training(path: Path, config: TrainConfig) -> Unit:
    """A picture of `--data`, which must hold a crop and can become one to validate on."""
    return _read(path, "--data", config.border, max(config.crop, SMALLEST))


def _fingerprint(unit: Unit) -> bytes:
    """Equal for pictures of equal pixels, whatever their files are."""
    return hashlib.sha256(repr(unit.shape).encode() + unit.tobytes()).digest()


def _check_number(data: Path, files: int, different: int, *, held: bool) -> None:
    """Make sure that there is enough to train on, and to keep if pictures are held out.

    Raises:
        UsageError: there is not.
    """
    if different >= LEAST_PICTURES + held:
        return
    if different == 1 and files > 1:
        cause = f"holds {files} pictures that are all the same"
    elif different < files:
        cause = f"holds {files} pictures, but only {different} different ones"
    else:
        cause = f"holds {_count(files)}"
    need = f"at least {LEAST_PICTURES} different ones are needed to train on"
    remedy = "add more to it"
    if held:
        need += " and one more to validate on"
        if different == LEAST_PICTURES:
            remedy += ", or give --val a folder of others"
    raise UsageError(f"{cause}, and {need}", file=data, remedy=remedy)


def _clean(path: Path, unit: Unit) -> Clean:
    """The middle of a picture, rounded to the levels of 8 bits."""
    centre = centre_crop(unit, VALIDATION_CROP)
    levels = np.rint(centre * np.float32(255)) / np.float32(255)
    return Clean(path.parent.absolute().name, path.stem, levels.astype(np.float32))


def _count(pictures: int) -> str:
    return "1 picture" if pictures == 1 else f"{pictures} pictures"
