"""The report in a real browser: it works from the disk, by mouse, by keyboard, light and dark."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest
from made_up_evaluation import CURVES, HOSTILE, make_evaluation
from PIL import Image

from irkd.report.evaluation import Failure
from irkd.report.page import write_report
from irkd.report.selection import Selection
from irkd.report.sets import SetsEvaluation

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="needs a browser: chromium (or google-chrome) and chromedriver on the PATH",
)

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--no-first-run", "--disable-dev-shm-usage", "--window-size=1200,900"),
)

# The contrast of every text with what lies behind it (WCAG 2.1), the least first.
CONTRASTS = """
const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
const luminance = (rgb) => {
  const [r, g, b] = rgb.map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const [r, g, b, alpha = 1] = channels(getComputedStyle(at).backgroundColor);
    if (alpha === 1) return [r, g, b];
  }
  return [255, 255, 255];
};
const found = [];
for (const element of document.body.querySelectorAll("*")) {
  const own = [...element.childNodes]
    .some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  if (!own || ["SCRIPT", "STYLE", "style"].includes(element.tagName)) continue;
  const style = getComputedStyle(element);
  const text = element instanceof SVGElement ? style.fill : style.color;
  const pair = [luminance(channels(text).slice(0, 3)), luminance(behind(element))];
  const contrast = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  found.push([contrast, element.outerHTML.slice(0, 80)]);
}
return found.sort((a, b) => a[0] - b[0]);
"""

INTERACTIVE = "a[href], input, select, summary, [tabindex='0']"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    # With its path given, selenium looks for no driver elsewhere.
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    """The address of a page with everything that a page can have."""
    plain = make_evaluation()
    evaluation = make_evaluation(
        selection=Selection.of("student alone", "degraded", plain.metrics[0], 2, 9),
        failures=(Failure("student alone", "third", "no result"),),
    )
    other = make_evaluation(rows=plain.rows[:2], strips=())
    found = SetsEvaluation({"first set": evaluation, HOSTILE: other}, "macro")
    return write_report(tmp_path_factory.mktemp("report"), found, CURVES).as_uri()


@pytest.fixture
def opened(browser, page):
    """The page, freshly loaded, light and wide, with empty logs."""
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get("about:blank")
    for log in ("performance", "browser"):
        browser.get_log(log)
    browser.get(page)
    return browser


def load_pictures(browser) -> None:
    """Have all pictures decoded, those far below too; a broken one ends the test."""
    browser.execute_async_script(
        "const done = arguments[0], images = [...document.images];"
        "images.forEach((image) => { image.loading = 'eager'; });"
        "Promise.all(images.map((image) => image.decode())).then(() => done());"
    )


def network(browser, method: str) -> list[dict]:
    """What happened on the network, and with files, since the last call."""
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [message["params"] for message in messages if message["method"] == f"Network.{method}"]


def pixels(element) -> np.ndarray:
    """H x W x 3, as they are on the screen."""
    return np.asarray(Image.open(io.BytesIO(element.screenshot_as_png)).convert("RGB"), float)


def brightness(element) -> tuple[float, float, float, float]:
    """The means of four columns of equal width, left to right."""
    return tuple(part.mean() for part in np.array_split(pixels(element), 4, axis=1))


def focused_stage(browser):
    """The first slider's pictures, in view, with all loaded."""
    load_pictures(browser)
    stage = browser.find_element(By.CSS_SELECTOR, ".stage")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    return stage


def test_every_picture_is_there_and_nothing_comes_from_elsewhere(opened, page):
    load_pictures(opened)
    widths = opened.execute_script("return [...document.images].map((each) => each.naturalWidth)")
    assert len(widths) == 2 * (3 * 2 + 2)  # two photographs: whole, crop, and the slider's two
    assert min(widths) > 0
    urls = [event["request"]["url"] for event in network(opened, "requestWillBeSent")]
    assert page in urls
    assert {url.split(":")[0] for url in urls} <= {"file", "data"}
    assert [url for url in urls if url.startswith("file:")] == [page]
    script = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert [url for url in opened.execute_script(script) if not url.startswith("data:")] == []
    assert opened.get_log("browser") == []


def test_the_page_itself_forbids_to_fetch_anything(opened):
    opened.execute_async_script(
        "const done = arguments[0], image = new Image();"
        "image.onerror = () => done(); image.src = 'https://irkd.invalid/x.png';"
    )
    assert [event.get("blockedReason") for event in network(opened, "loadingFailed")] == ["csp"]
    assert any("Content Security Policy" in each["message"] for each in opened.get_log("browser"))


def test_the_slider_moves_by_mouse(opened):
    stage = focused_stage(opened)
    # The degraded picture, half as bright, is on the left.
    first, second, third, fourth = brightness(stage)
    width = stage.size["width"]
    mouse = ActionChains(opened, duration=50)
    mouse.move_to_element_with_offset(stage, 0, 0).click_and_hold()
    mouse.move_by_offset(round(0.2 * width), 0).release().perform()
    dragged = brightness(stage)
    assert dragged[2] < 0.8 * third
    assert dragged[:2] == pytest.approx((first, second), rel=0.05)
    assert dragged[3] == pytest.approx(fourth, rel=0.05)
    mouse.move_to_element_with_offset(stage, round(-0.2 * width), 0).click().perform()
    clicked = brightness(stage)
    assert clicked[1] > 1.4 * second
    assert clicked[0] == pytest.approx(first, rel=0.05)
    assert clicked[2:] == pytest.approx((third, fourth), rel=0.05)


def test_the_slider_moves_by_keys(opened):
    stage = focused_stage(opened)
    slider = stage.find_element(By.TAG_NAME, "input")
    opened.execute_script("arguments[0].focus()", slider)
    before = brightness(stage)
    slider.send_keys(Keys.ARROW_RIGHT)
    assert 50 < float(slider.get_property("value")) <= 55
    slider.send_keys(*[Keys.ARROW_LEFT] * 12)
    assert 30 <= float(slider.get_property("value")) < 45
    assert brightness(stage)[1] > 1.1 * before[1]
    slider.send_keys(Keys.END)
    assert brightness(stage)[3] < 0.75 * before[3]
    slider.send_keys(Keys.HOME)
    assert brightness(stage)[0] > 1.5 * before[0]


def test_the_pictures_are_chosen_by_keys(opened):
    stage = focused_stage(opened)
    left, right = opened.find_elements(By.CSS_SELECTOR, ".compare")[0].find_elements(
        By.TAG_NAME, "select"
    )
    before = brightness(stage)
    right.send_keys(Keys.ARROW_UP)
    load_pictures(opened)
    assert stage.find_element(By.CSS_SELECTOR, ".after").get_attribute("alt") == "degraded"
    changed = brightness(stage)
    assert changed[2] < 0.75 * before[2]
    assert changed[0] == pytest.approx(before[0], rel=0.05)
    left.send_keys(Keys.END)
    load_pictures(opened)
    assert brightness(stage)[0] > 1.5 * before[0]
    # A name of the user's is text, not HTML.
    names = [option.text for option in left.find_elements(By.TAG_NAME, "option")]
    assert names == ["degraded", HOSTILE, "reference"]


def test_everything_is_reached_by_tab_and_seen_to_be(opened):
    expected = opened.find_elements(By.CSS_SELECTOR, INTERACTIVE)
    kinds = [element.tag_name for element in expected]
    assert {"a", "input", "select", "summary", "div", "pre"} <= set(kinds)
    assert kinds.count("input") == 2
    reached = []
    for _ in expected:
        ActionChains(opened).send_keys(Keys.TAB).perform()
        element, outline = opened.execute_script(
            "const at = document.activeElement;"
            "const style = getComputedStyle(at.closest('.stage') ?? at);"
            "return [at, style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth)]"
        )
        assert outline >= 2, element.get_attribute("outerHTML")[:80]
        reached.append(element)
    assert reached == expected
    details = opened.find_element(By.TAG_NAME, "details")
    assert details.get_property("open") is False
    details.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert details.get_property("open") is True


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_in_dark(scheme, opened):
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    corner = pixels(opened.find_element(By.TAG_NAME, "h1"))[-1, -1].mean()
    assert corner > 240 if scheme == "light" else corner < 40
    contrasts = opened.execute_script(CONTRASTS)
    assert len(contrasts) > 200
    assert contrasts[0][0] >= 4.5, contrasts[0]


def test_a_narrow_screen_is_no_wider_than_itself(opened):
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    load_pictures(opened)
    assert opened.execute_script("return document.documentElement.scrollWidth") <= 400
    stage = opened.find_element(By.CSS_SELECTOR, ".stage")
    assert 300 < stage.size["width"] <= 400
