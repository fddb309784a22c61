"""The before/after page in a browser: what it draws and says is what the arrays hold."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.jobs.page.pack import Shown, pack
from deal_cli.jobs.page.page import About, ReportWriter

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

HEIGHT, WIDTH = 96, 128
ABOUT = About("Flight", "2025-01-02", (("deal", "1.0"),), ("All done.",), (("a.avi", "a video"),))
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}

# The pixels of a pane at 1:1 where the picture lies, RGBA in base64; through a copy, for a browser
# complains of a canvas that is read often.
PIXELS = """([pane, height, width]) => {
  const view = document.getElementById('view');
  const { x, y } = deal.state().panes[pane];
  const copy = new OffscreenCanvas(width, height);
  const context = copy.getContext('2d', { willReadFrequently: true });
  context.drawImage(view, x, y, width, height, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  return btoa(Array.from(data, (value) => String.fromCharCode(value)).join(''));
}"""

Open = Callable[..., "Page"]
Array = NDArray[np.float32]


def celsius(counts: Array) -> Array:
    return counts / np.float32(50) - np.float32(150)


def striped(seed: int, dtype: Any, height: int = HEIGHT, width: int = WIDTH) -> tuple[Array, Array]:
    after = draw_scene(seed, height, width, dtype).values
    rng = np.random.default_rng(seed)
    step = 5 if dtype == "uint8" else 40
    noisy = after + rng.normal(0, step, (1, width)) + rng.normal(0, step, after.shape)
    return np.clip(np.rint(noisy), 0, 255 if dtype == "uint8" else 65535).astype(np.float32), after


def pictures() -> list[Shown]:
    grey, counts, degrees = striped(0, "uint8"), striped(1, "uint16"), striped(2, "uint8")
    gap = [values.copy() for values in counts]
    for values in gap:
        values[10:20, 30:40] = np.nan
    figures = (("mean shift", "+0.02"), ("99.9 % within", "3"))
    floats = [values / np.float32(7) for values in degrees]
    return [
        Shown("flight/a.png", *grey, "grey levels", figures),
        Shown("flight/b.jpg", *gap, "counts", figures, "its mean moved", celsius),
        Shown("flight/c.tif", *floats, "°C", figures),
    ]


def write(path: Path, shown: list[Shown], **options: bool) -> Path:
    with ReportWriter(path, **options) as writer:
        for picture in shown:
            writer.add(pack(picture))
        writer.close(ABOUT)
    return path


@pytest.fixture
def opened(open_page: Open) -> Open:
    """`(path, **context)` -> the page, its first picture drawn."""

    def make(path: Path, **options: Any) -> Page:
        page = open_page(path, **options)
        until(page, "deal.state().drawn === 0")
        return page

    return make


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("three") / "page.html", pictures())


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pair = striped(3, "uint8", 48, 64)
    shown = [
        Shown(f"f/{i:03d}.png", *pair, "counts", (("n", str(i)),), "odd" if i % 50 == 7 else None)
        for i in range(300)
    ]
    return write(tmp_path_factory.mktemp("many") / "page.html", shown)


def state(page: Page) -> dict[str, Any]:
    # A frame after the one in which what was asked for is drawn.
    page.evaluate("() => new Promise((go) => requestAnimationFrame(() => setTimeout(go)))")
    return dict(page.evaluate("deal.state()"))


def until(page: Page, condition: str) -> None:
    """Wait for a condition; Playwright's own waiting evaluates text, which the page forbids."""
    for _ in range(400):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"never {condition}")


def pixels(page: Page, pane: int = 0, height: int = HEIGHT, width: int = WIDTH) -> NDArray[Any]:
    state(page)
    data = base64.b64decode(page.evaluate(PIXELS, [pane, height, width]))
    return np.frombuffer(data, np.uint8).reshape(height, width, 4)[..., :3]


def white_hot(values: Array, low: float, high: float) -> NDArray[Any]:
    share = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    return np.repeat(np.floor(255 * share + 0.5)[..., None], 3, axis=2)


def window(shown: Shown, told: dict[str, Any]) -> tuple[float, float]:
    least = np.nanmin([shown.before, shown.after])
    return told["low"] + least, told["high"] + least


def boundary(page: Page) -> int:
    """The first column of the picture that is the picture after, at 1:1."""
    told = state(page)
    return int(np.floor(WIDTH * told["divider"] + 0.5))


def show(page: Page, index: int) -> None:
    page.locator(".entry").nth(index).click()
    until(page, f"deal.state().drawn === {index}")


def move_to(page: Page, x: int, y: int) -> None:
    """Point at a pixel of the picture."""
    told, box = state(page), page.locator("#view").bounding_box()
    assert box is not None
    pane, zoom, ratio = told["panes"][0], told["zoom"], told["ratio"]
    page.mouse.move(
        box["x"] + (pane["x"] + (x + 0.5) * zoom) / ratio,
        box["y"] + (pane["y"] + (y + 0.5) * zoom) / ratio,
    )


def told_values(page: Page) -> list[str]:
    return [page.locator(f"#value-{name}").inner_text() for name in ("before", "after", "change")]


def test_the_picture_is_before_left_of_the_divider_and_after_right_of_it(
    opened: Open, three: Path
) -> None:
    page, shown = opened(three), pictures()[0]
    page.keyboard.press("1")
    low, high = window(shown, state(page))
    before, after = white_hot(shown.before, low, high), white_hot(shown.after, low, high)

    def check() -> None:
        cut, seen = boundary(page), pixels(page)
        np.testing.assert_array_equal(seen[:, :cut], before[:, :cut])
        np.testing.assert_array_equal(seen[:, cut:], after[:, cut:])

    assert np.percentile(shown.before, 0.5) == pytest.approx(low, abs=1)
    assert np.percentile(shown.before, 99.5) == pytest.approx(high, abs=1)
    check()
    page.get_by_label("Before/after divider").focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    assert state(page)["divider"] == pytest.approx(0.65)
    check()
    move_to(page, round(0.65 * WIDTH), 40)
    page.mouse.down()
    move_to(page, 32, 44)
    page.mouse.up()
    assert state(page)["divider"] == pytest.approx(0.25, abs=0.01)
    check()


def test_the_held_keys_show_one_alone(opened: Open, three: Path) -> None:
    page, shown = opened(three), pictures()[0]
    page.keyboard.press("1")
    low, high = window(shown, state(page))
    for key, values in (("b", shown.before), ("a", shown.after)):
        page.keyboard.down(key)
        np.testing.assert_array_equal(pixels(page), white_hot(values, low, high))
        page.keyboard.up(key)
    assert state(page)["alone"] is None
    page.get_by_label("Hold to see after only").focus()
    page.keyboard.down("Space")
    assert state(page)["alone"] == "after"
    page.keyboard.up("Space")
    assert state(page)["alone"] is None


def test_zoom_by_wheel_buttons_and_keys_keeps_both_panes_together(
    opened: Open, three: Path
) -> None:
    page = opened(three)
    page.get_by_label("Side by side").check()
    fit = state(page)["zoom"]
    page.keyboard.press("+")
    assert state(page)["zoom"] == pytest.approx(fit * 2**0.5)
    page.get_by_role("button", name="Zoom in").click()
    assert state(page)["zoom"] == pytest.approx(fit * 2)
    page.get_by_role("button", name="Zoom out").click()
    move_to(page, 20, 30)
    page.mouse.wheel(0, -240)
    until(page, f"deal.state().zoom > {1.9 * fit}")
    held = state(page)["cursor"]
    assert (held["x"], held["y"]) == (20, 30)
    page.keyboard.press("Shift+ArrowRight")
    told = state(page)
    places = [pane["x"] - pane["left"] for pane in told["panes"]]
    assert abs(places[0] - places[1]) <= 1
    page.keyboard.press("n")
    until(page, "deal.state().drawn === 1")
    kept = state(page)
    assert (kept["zoom"], kept["centre"]) == (told["zoom"], told["centre"])
    page.keyboard.press("1")
    assert state(page)["zoom"] == 1
    page.keyboard.press("0")
    assert state(page)["zoom"] == pytest.approx(fit)
    page.locator("#view").dblclick(position={"x": 100, "y": 200})
    assert state(page)["zoom"] == pytest.approx(2 * fit)


def test_each_pane_side_by_side_holds_its_picture(opened: Open, three: Path) -> None:
    page, shown = opened(three), pictures()[0]
    page.keyboard.press("s")
    page.keyboard.press("1")
    low, high = window(shown, state(page))
    np.testing.assert_array_equal(pixels(page, 0), white_hot(shown.before, low, high))
    np.testing.assert_array_equal(pixels(page, 1), white_hot(shown.after, low, high))


def test_a_palette_changes_the_view_and_no_value(opened: Open, three: Path) -> None:
    page, shown = opened(three), pictures()[0]
    page.keyboard.press("1")
    move_to(page, 50, 60)
    grey, values = pixels(page), told_values(page)
    page.get_by_label("Palette").select_option("Black-hot")
    np.testing.assert_array_equal(pixels(page), 255 - grey)
    for palette in ("Ironbow", "Rainbow", "Arctic"):
        page.get_by_label("Palette").select_option(palette)
        assert len(np.unique(pixels(page).reshape(-1, 3), axis=0)) > 60
    assert told_values(page) == values
    page.get_by_role("button", name="Full range").click()
    page.get_by_label("Palette").select_option("White-hot")
    low = min(shown.before.min(), shown.after.min())
    high = max(shown.before.max(), shown.after.max())
    cut = boundary(page)
    np.testing.assert_array_equal(
        pixels(page)[:, :cut], white_hot(shown.before, low, high)[:, :cut]
    )
    page.get_by_label("Lower end of the window, as a number").fill("90")
    page.keyboard.press("Enter")
    page.get_by_label("Upper end of the window", exact=True).focus()
    page.keyboard.press("ArrowLeft")
    np.testing.assert_array_equal(
        pixels(page)[:, :cut], white_hot(shown.before, 90, high - 1)[:, :cut]
    )


def test_the_cursor_reads_the_numbers_of_the_arrays(opened: Open, three: Path) -> None:
    page, (grey, counts, degrees) = opened(three), pictures()
    for x, y in ((0, 0), (127, 95), (64, 17)):
        move_to(page, x, y)
        state(page)
        before, after = int(grey.before[y, x]), int(grey.after[y, x])
        change = f"{after - before:+d}".replace("-", "−") if after != before else "0"
        assert told_values(page) == [str(before), str(after), change]
    show(page, 1)
    page.get_by_label("x", exact=True).fill("35")
    page.get_by_label("y", exact=True).fill("15")
    page.keyboard.press("Enter")
    assert told_values(page) == ["not measured", "not measured", "–"]
    page.get_by_label("y", exact=True).fill("50")
    page.keyboard.press("Enter")
    before, after = counts.before[50, 35], counts.after[50, 35]
    assert told_values(page)[:2] == [str(int(before)), str(int(after))]
    warm = page.locator("#celsius-before").inner_text().removesuffix(" °C").replace("−", "-")
    assert float(warm) == pytest.approx(float(celsius(before)), abs=0.006)
    moved = page.locator("#celsius-change").inner_text().removesuffix(" K").replace("−", "-")
    assert float(moved) == pytest.approx(float(celsius(after) - celsius(before)), abs=0.006)
    assert "Pinned at x 35, y 50: before " in page.locator("#told").inner_text()
    move_to(page, 3, 3)
    assert state(page)["cursor"] == {"x": 35, "y": 50}
    page.keyboard.press("Escape")
    show(page, 2)
    move_to(page, 64, 17)
    state(page)
    told = [float(text.replace("−", "-")) for text in told_values(page)[:2]]
    assert told == pytest.approx([degrees.before[17, 64], degrees.after[17, 64]], abs=0.001)
    assert "rounded to steps of" in page.locator("#exactness").inner_text()


def test_the_change_is_white_where_there_is_none_and_its_scale_is_told(
    opened: Open, three: Path
) -> None:
    page, shown = opened(three), pictures()[0]
    page.get_by_label("Change", exact=True).check()
    page.keyboard.press("1")
    seen, change = pixels(page).astype(int), shown.after - shown.before
    assert (seen[change == 0] > 250).all()
    limit = state(page)["limit"]
    assert limit == pytest.approx(np.percentile(np.abs(change), 99.9), abs=1)
    red, blue = seen[change > limit / 3], seen[change < -limit / 3]
    assert (red[:, 0] > red[:, 2]).all()
    assert (blue[:, 2] > blue[:, 0]).all()
    ticks = page.locator("#ticks li").all_inner_texts()
    assert [tick.strip() for tick in ticks] == [f"+{limit}", "0", f"−{limit}"]
    assert page.locator("#scale-unit").inner_text() == "change, grey levels"
    page.get_by_label("Largest change shown, as a number").fill("4")
    page.keyboard.press("Enter")
    assert state(page)["limit"] == 4
    np.testing.assert_array_equal(
        pixels(page)[change >= 4], [[0x9C, 0x14, 0x20]] * (change >= 4).sum()
    )


def test_profile_and_histograms_are_drawn_and_described(opened: Open, three: Path) -> None:
    page, shown = opened(three), pictures()[0]
    move_to(page, 10, 33)
    state(page)
    row = np.concatenate((shown.before[33], shown.after[33]))
    label = f"Before and after along row 33, {row.min():.0f} to {row.max():.0f} grey levels"
    assert page.locator("#profile").get_attribute("aria-label") == label
    medians = [
        f"{np.percentile(v, 50, method='inverted_cdf'):.0f}" for v in (shown.before, shown.after)
    ]
    described = page.locator("#histogram").get_attribute("aria-label") or ""
    assert described.endswith(f"medians {medians[0]} and {medians[1]}")
    inked = """(id) => {
      const canvas = document.getElementById(id);
      const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d');
      copy.drawImage(canvas, 0, 0);
      const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
      return data.filter((value, i) => i % 4 === 3 && value > 100).length;
    }"""
    plain = page.evaluate(inked, "histogram")
    assert min(plain, page.evaluate(inked, "profile")) > 500
    page.get_by_label("log counts").check()
    state(page)
    assert page.evaluate(inked, "histogram") != plain


def test_a_page_and_its_files_ask_for_nothing_else(
    opened: Open, three: Path, tmp_path: Path, heard: Any
) -> None:
    opened(three)
    assert heard.requests == [three.as_uri()]
    heard.requests.clear()
    split = write(tmp_path / "a page #1.html", pictures(), split=True)
    page = opened(split)
    page.keyboard.press("ArrowDown")
    until(page, "deal.state().drawn === 1 && deal.state().decoded === 3")
    files = sorted((tmp_path / "a page #1_files").iterdir())
    assert sorted(heard.requests) == sorted(path.as_uri() for path in (split, *files))
    assert page.evaluate("Object.getOwnPropertyDescriptor(window, 'deal').writable") is False


def test_a_file_missing_beside_the_page_is_told(opened: Open, tmp_path: Path, heard: Any) -> None:
    page_path = write(tmp_path / "page.html", pictures(), split=True)
    gone = sorted((tmp_path / "page_files").iterdir())[2]
    gone.unlink()
    page = opened(page_path)
    page.locator(".entry").nth(2).click()
    until(page, "deal.state().drawn === 2")
    told = page.get_by_role("alert").inner_text()
    assert told == f"This picture cannot be shown: page_files/{gone.name} is not beside this page."
    show(page, 0)
    assert page.get_by_role("alert").count() == 0
    assert all("ERR_FILE_NOT_FOUND" in complaint for complaint in heard.complaints)
    heard.complaints.clear()


@pytest.mark.parametrize(
    ("scheme", "device"),
    [("light", {}), ("dark", {}), ("light", PHONE)],
    ids=["light", "dark", "phone"],
)
def test_every_text_is_readable_and_every_control_has_a_name(
    opened: Open, three: Path, scheme: str, device: dict[str, Any]
) -> None:
    page = opened(three, color_scheme=scheme, **device)
    show(page, 1)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(CONTRASTS) == []
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")
    nodes = [node for node in tree["nodes"] if not node["ignored"]]
    controls = [
        node
        for node in nodes
        if node["role"]["value"] in CONTROLS
        or any(p["name"] == "focusable" and p["value"]["value"] for p in node["properties"])
    ]
    assert len(controls) > 20
    roles = {"RootWebArea"}
    assert [
        node
        for node in controls
        if not node["name"]["value"].strip() and node["role"]["value"] not in roles
    ] == []
    headings = [
        next(p["value"]["value"] for p in node["properties"] if p["name"] == "level")
        for node in nodes
        if node["role"]["value"] == "heading"
    ]
    assert headings == [1, 2, 3, 3, 3]
    assert {"main", "navigation", "banner", "contentinfo"} <= {n["role"]["value"] for n in nodes}
    if device:
        assert page.evaluate(SMALL_TARGETS) == []


CONTROLS = {"button", "slider", "radio", "checkbox", "combobox", "spinbutton", "searchbox", "link"}

# Texts whose contrast with the nearest opaque background is below 4.5 (WCAG 2.2, 1.4.3).
CONTRASTS = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => [r, g, b].reduce(
    (sum, v, i) => sum + [0.2126, 0.7152, 0.0722][i] * linear(v / 255), 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.7) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    const pair = [parse(getComputedStyle(element).color), ground(element)].map(light);
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (ratio < 4.5) poor.push([walker.currentNode.data.trim(), ratio]);
  }
  return poor;
}"""

# Controls less than 40 CSS pixels high or wide that a finger has to hit.
SMALL_TARGETS = """() => [...document.querySelectorAll('button, select, input, summary, label')]
  .filter((element) => element.checkVisibility() && !element.closest('dialog'))
  .map((element) => [element.closest('label') ?? element, element])
  .filter(([target]) => Math.min(target.offsetWidth, target.offsetHeight) < 40)
  .map(([, element]) => element.outerHTML.slice(0, 80))"""


def test_the_page_follows_the_system_until_told_otherwise(opened: Open, three: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page = opened(three, color_scheme="dark", reduced_motion="reduce")
    assert page.evaluate(ground) == "rgb(19, 20, 22)"
    page.get_by_role("button", name="Light page").click()
    assert page.evaluate(ground) == "rgb(245, 245, 243)"
    assert page.get_by_role("button", name="Dark page").is_visible()


def test_a_finger_pins_the_cursor_and_moves_the_divider(opened: Open, three: Path) -> None:
    page = opened(three, **PHONE)
    box = page.locator("#view").bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
    told = state(page)
    assert told["pinned"]
    assert told["cursor"]["x"] == pytest.approx(0.25 * WIDTH, abs=1)
    page.get_by_role("button", name="Unpin").tap()
    assert not state(page)["pinned"]


def test_three_hundred_pictures_are_found_and_few_are_unpacked(opened: Open, many: Path) -> None:
    page = opened(many)
    page.get_by_label("Filter").fill("odd")
    assert page.locator("#matches").inner_text() == "6 of 300 pictures"
    assert page.locator("#list li:visible").count() == 6
    page.get_by_role("button", name="Next picture").click()
    until(page, "deal.state().drawn === 7")
    assert page.locator("#name").inner_text() == "f/007.png"
    assert page.locator("#position").inner_text() == "1 / 6"
    page.get_by_label("Filter").fill("")
    page.get_by_label("Order").select_option("first")
    assert (page.locator("#list .file").nth(1).text_content() or "").endswith("057.png")
    page.locator("h2").first.click()
    for key, index in (("n", 57), ("n", 107), ("p", 57)):
        page.keyboard.press(key)
        until(page, f"deal.state().drawn === {index}")
    until(page, "deal.state().decoded === 3")
    assert page.locator("#figures").inner_text().split() == ["n", "57"]


def test_the_keyboard_alone_gets_everywhere(opened: Open, three: Path) -> None:
    page = opened(three)
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        element = page.evaluate(
            """() => {
              const at = document.activeElement;
              const shown = at.type === 'radio' ? at.nextElementSibling : at;
              return [at.id || at.name || at.className || at.tagName,
                getComputedStyle(shown).outlineStyle !== 'none'];
            }"""
        )
        if element[0] == "BODY":
            break
        assert element[1], f"no focus is seen on {element[0]}"
        seen.append(element[0])
    expected = (
        "theme help entry previous next mode hold-before hold-after zoom-out zoom-in zoom-fit"
    )
    expected += " zoom-one palette divider x y low high low-value auto full high-value log keep"
    assert [name for name in seen if name != "SUMMARY"] == expected.split()
    assert seen.count("SUMMARY") == 3
    page.locator(".entry").first.focus()
    page.keyboard.press("End")
    until(page, "deal.state().drawn === 2")
    assert page.evaluate("document.activeElement.querySelector('.file').innerText").endswith(
        "c.tif"
    )
    page.keyboard.press("ArrowUp")
    until(page, "deal.state().drawn === 1")
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keys").is_visible()
    page.keyboard.press("c")
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0
    assert state(page)["mode"] == "divider"
    page.keyboard.press("?")
    page.get_by_label("single keys act everywhere").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("c")
    assert state(page)["mode"] == "divider"


def test_without_scripts_the_figures_are_shown_all_the_same(open_page: Open, three: Path) -> None:
    page = open_page(three, java_script_enabled=False)
    assert page.get_by_text("The pictures need JavaScript").is_visible()
    assert page.get_by_role("cell", name="+0.02").first.is_visible()
    assert page.locator("#view").is_hidden()
