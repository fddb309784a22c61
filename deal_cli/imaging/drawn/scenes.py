"""Drawn long-wave thermal scenes: pictures to try, test and time with that belong to nobody.

A scene is painted in units of apparent warmth, 0 the coldest sky and about 1 the warmest skin or
bonnet, at twice the size; halving it smooths the edges, and a mild optical blur softens them as a
lens does.
"""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from deal_cli.imaging.frame import Frame

Canvas = NDArray[np.float32]

#: Optical blur of the finished scene, σ in pixels.
LENS_SIGMA = 0.55

#: Sixteen-bit scenes are counts of a 14-bit camera: warmth 0 and 1 stand at these.
COUNTS = (7000.0, 9500.0)


def draw_scene(
    seed: int, height: int = 512, width: int = 640, dtype: Literal["uint8", "uint16"] = "uint8"
) -> Frame:
    """Draw one clean scene; the same arguments give the same pixels.

    Args:
        seed: of the only random source.
        height: rows, 32 or more.
        width: columns, 32 or more.
        dtype: `uint8` for a picture after gain control that spans most of 0 to 255, `uint16` for
            raw counts around 7000 to 9500 with hot spots up to about 12000.

    Returns:
        Values `(height, width)`, whole numbers of the dtype.

    Raises:
        ValueError: a smaller size.
    """
    if min(height, width) < 32:
        raise ValueError(f"a scene is at least 32x32, not {height}x{width}")
    rng = np.random.default_rng(seed)
    warmth = _paint(rng, height, width)
    if dtype == "uint16":
        low, high = COUNTS
        values = np.rint(low + (high - low) * np.clip(warmth, -0.1, 2.0))
    else:
        cold, hot = np.percentile(warmth, (0.3, 99.7))
        values = np.rint(np.clip(8 + 232 * (warmth - cold) / max(hot - cold, 1e-3), 0, 255))
    return Frame(values.astype(np.float32), np.dtype(dtype))


def _paint(rng: Generator, height: int, width: int) -> Canvas:
    """Warmth `(height, width)` of a scene, from the sky forward to the nearest things."""
    import cv2

    canvas = np.zeros((2 * height, 2 * width), np.float32)
    horizon = int(2 * height * rng.uniform(0.25, 0.5))
    _sky(canvas, horizon, rng)
    _hills(canvas, horizon, rng)
    _ground(canvas, horizon, rng)
    for _ in range(rng.integers(2, 6)):
        _building(canvas, horizon, rng)
    for _ in range(rng.integers(6, 14)):
        _tree(canvas, horizon, rng)
    _poles_and_wires(canvas, horizon, rng)
    # Far things first: depth 0 is the horizon, 1 the lower edge of the picture.
    for depth in np.sort(rng.uniform(0.05, 0.8, rng.integers(5, 11))):
        actor = _vehicle if rng.random() < 0.4 else _person
        actor(canvas, horizon, float(depth), rng)
    # Clothes, skin and metal are never even: folds show where things are warm.
    folds = _texture((height, width), rng, coarsest=16, decay=0.8)
    halved = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    scene: Canvas = np.asarray(cv2.GaussianBlur(halved, (0, 0), LENS_SIGMA), np.float32)
    scene += folds * 0.09 * np.clip(scene - 0.48, 0, 0.4)
    _hot_spots(scene, rng)
    return scene


def _texture(
    shape: tuple[int, ...], rng: Generator, coarsest: int, stretch: float = 1, decay: float = 0.62
) -> Canvas:
    """Fractal noise of this shape, mean 0, deviation 1.

    Its largest grains are `coarsest` pixels high and `stretch` times as wide; each further scale
    is half the one before, down to two pixels, with `decay` of its amplitude.
    """
    import cv2

    total = np.zeros(shape, np.float32)
    scale, weight = coarsest, 1.0
    while scale >= 2:
        rows = max(2, round(shape[0] / scale))
        columns = max(2, round(shape[1] / (scale * stretch)))
        grains = rng.standard_normal((rows, columns), np.float32)
        total += weight * cv2.resize(grains, shape[::-1], interpolation=cv2.INTER_CUBIC)
        scale, weight = scale // 2, weight * decay
    texture: Canvas = (total - total.mean()) / (total.std() + 1e-6)
    return texture


def _sky(canvas: Canvas, horizon: int, rng: Generator) -> None:
    """Cold overhead, warmer toward the horizon through more air, with faint clouds."""
    height, width = horizon, canvas.shape[1]
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    clouds = _texture((height, width), rng, coarsest=max(8, height // 2), stretch=2.5)
    cover = np.clip(clouds + rng.uniform(-1.2, 0.8), 0, None) * rng.uniform(0.01, 0.06)
    canvas[:horizon] = 0.02 + rng.uniform(0.08, 0.2) * down**2.5 + cover * (1 - 0.5 * down)


def _hills(canvas: Canvas, horizon: int, rng: Generator) -> None:
    """Two ridges behind everything, the farther one hazier and nearer to the air's warmth."""
    width = canvas.shape[1]
    for distance in (1.0, 0.5):
        rise = horizon * rng.uniform(0.1, 0.35) * (0.4 + 0.6 * distance)
        ridge = _texture((1, width), rng, coarsest=width // 3)[0]
        top = np.clip(horizon - rise * (0.6 + 0.35 * ridge), 2, horizon - 1).astype(int)
        base = rng.uniform(0.22, 0.3) + 0.04 * (1 - distance)
        start = int(top.min())
        band = canvas[start:horizon]
        cover = np.arange(start, horizon)[:, None] >= top[None]
        relief = _texture(band.shape, rng, coarsest=64) * 0.025 * (1.4 - distance)
        band[cover] = (base + relief)[cover]


def _ground(canvas: Canvas, horizon: int, rng: Generator) -> None:
    """Ground with grains that grow toward the viewer, and a road with its markings."""
    import cv2

    height, width = canvas.shape
    depth = height - horizon
    near = np.linspace(0, 1, depth, dtype=np.float32)[:, None]
    far_grains = _texture((depth, width), rng, coarsest=32, stretch=5, decay=0.9)
    near_grains = _texture((depth, width), rng, coarsest=64, stretch=2, decay=0.85)
    roughness = rng.uniform(0.015, 0.04)
    base = rng.uniform(0.28, 0.42)
    canvas[horizon:] = (
        base + 0.08 * near + roughness * (far_grains * (1 - near) + near_grains * near)
    )
    vanishing = width * rng.uniform(0.2, 0.8)
    left, right = np.sort(rng.uniform(-0.3, 1.3, 2)) * width
    right = max(right, left + 0.35 * width)
    road = np.zeros_like(canvas, np.uint8)
    corners = [(vanishing - 4, horizon), (vanishing + 4, horizon), (right, height), (left, height)]
    cv2.fillPoly(road, [np.array(corners, np.int32)], 1)
    asphalt = _texture((depth, width), rng, coarsest=16, decay=0.9) * 0.009
    surface = base + rng.uniform(0.04, 0.14) + asphalt + 0.05 * near
    on_road = road[horizon:] > 0
    canvas[horizon:][on_road] = surface[on_road]
    for place in (0.02, 0.5, 0.98):
        foot = left + place * (right - left)
        _line(canvas, (vanishing, horizon), (foot, height), base - 0.03, int(rng.integers(1, 4)))


def _line(
    canvas: Canvas, start: tuple[float, float], end: tuple[float, float], warmth: float, width: int
) -> None:
    """A straight line between two `(x, y)` points, `width` canvas pixels wide."""
    import cv2

    a, b = ((round(x), round(y)) for x, y in (start, end))
    cv2.line(canvas, a, b, float(warmth), width)


def _building(canvas: Canvas, horizon: int, rng: Generator) -> None:
    """A façade with cool panes in warm frames, some lit rooms, and heat leaking above a few."""
    height, width = canvas.shape
    wide, high = int(width * rng.uniform(0.1, 0.3)), int(horizon * rng.uniform(0.3, 0.95))
    x0 = int(rng.uniform(-0.05, 0.95) * width)
    foot = horizon + int(0.06 * height * rng.random())
    x1, y0, x0 = min(x0 + wide, width), max(foot - high, 0), max(x0, 0)
    if x1 - x0 < 24 or foot - y0 < 24:
        return
    wall = rng.uniform(0.32, 0.5)
    face = canvas[y0:foot, x0:x1]
    face[:] = wall + 0.015 * _texture(face.shape, rng, coarsest=48)
    face[:4] = wall - 0.1
    step_x, step_y = rng.integers(16, 36, 2)
    frame = rng.uniform(0.05, 0.14)
    for y in range(8, face.shape[0] - step_y, step_y):
        for x in range(8, face.shape[1] - step_x, step_x):
            pane_y, pane_x = int(step_y * 0.55), int(step_x * 0.6)
            face[y : y + pane_y, x : x + pane_x] = wall + frame
            # Glass mirrors the cold sky, unless the room behind it is warm and the window open.
            glass = wall + 0.3 if rng.random() < 0.06 else wall - rng.uniform(0.06, 0.16)
            face[y + 2 : y + pane_y - 2, x + 2 : x + pane_x - 2] = glass
            if rng.random() < 0.15:
                plume = np.linspace(0.0, 0.12, 6, dtype=np.float32)[:, None]
                face[y - 6 : y, x : x + pane_x] += plume
    face[:, :3] -= 0.04


def _tree(canvas: Canvas, horizon: int, rng: Generator) -> None:
    """A crown whose outline and leaves are the same fractal, on a trunk a little warmer."""
    height, width = canvas.shape
    size = int(height * rng.uniform(0.06, 0.24))
    x, foot = int(rng.uniform(0, width)), horizon + int(0.25 * size * rng.random())
    top = max(foot - int(1.3 * size), 0)
    left, right = max(x - size // 2, 0), min(x + size // 2, width)
    patch = canvas[top:foot, left:right]
    if min(patch.shape) < 8:
        return
    leaves = _texture(patch.shape, rng, coarsest=max(8, size // 3), decay=0.85)
    v = np.linspace(-1, 1, patch.shape[0], dtype=np.float32)[:, None] + 0.15
    u = np.linspace(-1, 1, patch.shape[1], dtype=np.float32)[None]
    warmth = rng.uniform(0.27, 0.4)
    trunk = x - left
    patch[patch.shape[0] // 2 :, max(trunk - size // 40, 0) : trunk + 1 + size // 40] = (
        warmth + 0.04
    )
    crown = u**2 + (v * 1.1) ** 2 + 0.26 * leaves < 0.75
    patch[crown] = (warmth + 0.035 * leaves - 0.03 * v)[crown]


def _poles_and_wires(canvas: Canvas, horizon: int, rng: Generator) -> None:
    """A row of poles and the wires that sag between them, one or two pixels wide."""
    import cv2

    height, width = canvas.shape
    places = np.arange(rng.uniform(0, 0.2), 1.2, rng.uniform(0.2, 0.45)) * width
    top, foot = int(horizon * rng.uniform(0.2, 0.6)), horizon + int(0.04 * height)
    warmth = rng.uniform(0.3, 0.5)
    for x in places:
        _line(canvas, (x, top), (x, foot), warmth, int(rng.integers(3, 7)))
        _line(canvas, (x - 14, top + 6), (x + 14, top + 6), warmth, 3)
    for start, end in itertools.pairwise(places):
        along = np.linspace(0, 1, 24)
        sag = top + 6 + 0.12 * (end - start) * 4 * along * (1 - along)
        wire = np.stack([start + along * (end - start), sag], 1).astype(np.int32)
        cv2.polylines(canvas, [wire], False, float(warmth - 0.08), 2)


def _person(canvas: Canvas, horizon: int, depth: float, rng: Generator) -> None:
    """A standing or walking person: skin warmest, clothes between skin and air."""
    import cv2

    height, width = canvas.shape
    foot = horizon + depth * (height - horizon)
    tall = height * (0.05 + 0.42 * depth)
    x, stride = rng.uniform(0, width), rng.uniform(-0.12, 0.12)
    skin = rng.uniform(0.85, 1.0)
    coat, trousers = rng.uniform(0.55, 0.8, 2)

    def limb(a: tuple[float, float], b: tuple[float, float], thick: float, warmth: float) -> None:
        start, end = ((x + u * tall, foot - v * tall) for u, v in (a, b))
        _line(canvas, start, end, warmth, max(2, round(thick * tall)))

    def ball(centre: tuple[float, float], radii: tuple[float, float], warmth: float) -> None:
        at = (round(x + centre[0] * tall), round(foot - centre[1] * tall))
        size = (max(1, round(radii[0] * tall)), max(1, round(radii[1] * tall)))
        cv2.ellipse(canvas, at, size, 0, 0, 360, float(warmth), -1)

    for side in (-1, 1):
        limb((side * 0.05, 0.48), (side * stride + side * 0.04, 0.02), 0.085, trousers)
        limb((side * 0.12, 0.78), (side * 0.15 - side * stride, 0.46), 0.055, coat - 0.03)
        ball((side * 0.15 - side * stride, 0.44), (0.028, 0.035), skin)
    limb((0.0, 0.8), (0.0, 0.5), 0.17, coat)
    ball((0.0, 0.77), (0.13, 0.06), coat)
    limb((0.0, 0.88), (0.0, 0.82), 0.05, skin - 0.05)
    ball((0.0, 0.91), (0.058, 0.08), skin)
    ball((0.0, 0.955), (0.056, 0.04), skin - 0.12)


def _vehicle(canvas: Canvas, horizon: int, depth: float, rng: Generator) -> None:
    """A car from the side: cold glass and roof, warm bonnet, wheels and the road beneath."""
    import cv2

    height, width = canvas.shape
    foot = horizon + depth * (height - horizon)
    long = width * (0.05 + 0.34 * depth)
    x, facing = rng.uniform(-0.1, 0.9) * width, rng.choice((-1, 1))
    body, engine = rng.uniform(0.3, 0.42), rng.uniform(0.5, 0.95)

    def shape(points: list[tuple[float, float]], warmth: float) -> None:
        corners = [(x + long * (0.5 + facing * (u - 0.5)), foot - v * long) for u, v in points]
        cv2.fillPoly(canvas, [np.array(corners).round().astype(np.int32)], float(warmth))

    shape([(0.08, 0.0), (0.94, 0.0), (0.9, 0.05), (0.1, 0.05)], engine * 0.7)
    shape([(0, 0.07), (1, 0.07), (0.99, 0.2), (0.72, 0.24), (0.03, 0.25)], body)
    shape([(0.1, 0.24), (0.22, 0.38), (0.58, 0.38), (0.74, 0.23)], body - 0.02)
    shape([(0.15, 0.25), (0.24, 0.355), (0.39, 0.355), (0.39, 0.25)], body - 0.16)
    shape([(0.42, 0.25), (0.42, 0.355), (0.57, 0.355), (0.68, 0.25)], body - 0.18)
    shape([(0.72, 0.16), (0.99, 0.15), (0.98, 0.2), (0.73, 0.235)], engine)
    shape([(0.96, 0.1), (1.0, 0.1), (0.99, 0.18), (0.95, 0.18)], engine + 0.06)
    for place in (0.2, 0.81):
        centre = (round(x + long * (0.5 + facing * (place - 0.5))), round(foot - 0.075 * long))
        radius = max(2, round(0.08 * long))
        cv2.circle(canvas, centre, radius, 0.55 * engine + 0.2, -1)
        cv2.circle(canvas, centre, max(1, radius * 3 // 5), body + 0.05, -1)
        cv2.circle(canvas, centre, max(1, radius // 4), engine, -1)


def _hot_spots(scene: Canvas, rng: Generator) -> None:
    """Points far smaller than a pixel: each shows the lens's own spread, 2 to 3 pixels wide."""
    height, width = scene.shape
    for _ in range(rng.integers(3, 9)):
        y, x = rng.uniform(6, height - 7), rng.uniform(6, width - 7)
        sigma, peak = rng.uniform(2.0, 3.0) / 2.3548, rng.uniform(0.3, 1.4)
        rows, columns = np.ogrid[int(y) - 5 : int(y) + 7, int(x) - 5 : int(x) + 7]
        spread = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
        scene[int(y) - 5 : int(y) + 7, int(x) - 5 : int(x) + 7] += peak * spread
