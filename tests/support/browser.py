"""Drives the labeling page in a headless Chromium as a person does: by keys and clicks, and by what the page shows."""

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import shutil

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = "chromium", "chromedriver"  # Debian's packages `chromium` and `chromium-driver`

KEYS = {"Enter": Keys.ENTER, "Left": Keys.ARROW_LEFT, "Right": Keys.ARROW_RIGHT, "Escape": Keys.ESCAPE, "Tab": Keys.TAB}

PAINTED = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done(true)));"


def installed() -> bool:
  """Whether Chromium and its driver can be started here."""
  return all(shutil.which(name) for name in (CHROMIUM, DRIVER))


@contextmanager
def browser(width: int = 1280, height: int = 860, *, dark: bool = False, phone: bool = False) -> Iterator[webdriver.Chrome]:
  """A headless Chromium with a profile of its own; `phone` is a touch screen of 390 x 844."""
  options = webdriver.ChromeOptions()
  options.binary_location = shutil.which(CHROMIUM)
  options.add_argument("--headless=new")
  options.add_argument(f"--window-size={width},{height}")
  options.add_argument("--disable-dev-shm-usage")
  if os.geteuid() == 0:
    options.add_argument("--no-sandbox")  # Chromium has no sandbox for root
  options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
  driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which(DRIVER)))
  try:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    if phone:
      size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
      driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    yield driver
  finally:
    driver.quit()


def wait(driver: webdriver.Chrome, condition, timeout: float = 20.0):
  """The first true value of `condition()`, asked every 20 ms; raises TimeoutException."""
  return WebDriverWait(driver, timeout, poll_frequency=0.02).until(lambda _: condition())


def join(driver: webdriver.Chrome, url: str, annotator: str = "anna") -> None:
  """Opens the page, gives the annotator's name and waits for the first image."""
  driver.get(url)
  wait(driver, lambda: driver.execute_script("return document.querySelector('#join').open"))
  press(driver, *annotator, "Enter")
  wait_painted(driver)


def press(driver: webdriver.Chrome, *keys: str) -> None:
  """Key events, at whatever has the focus: characters, or names of KEYS."""
  ActionChains(driver, duration=0).send_keys(*(KEYS.get(key, key) for key in keys)).perform()


def click(driver: webdriver.Chrome, selector: str) -> None:
  """A click on the first element of a CSS selector."""
  driver.find_element(By.CSS_SELECTOR, selector).click()


def choose(driver: webdriver.Chrome, name: str) -> None:
  """Types the name of a class, as the page asks for with more than ten classes."""
  if driver.switch_to.active_element.get_attribute("id") != "typed-name":
    press(driver, "/")
  press(driver, *name, "Enter")


def shown(driver: webdriver.Chrome) -> int | None:
  """The number of the image that is on screen; None if there is none."""
  script = "const img = document.querySelector('#stage img'); return img && img.complete && img.naturalWidth > 0"
  number = driver.execute_script(f"{script} ? document.querySelector('#stage').dataset.image : null")
  return None if number is None else int(number)


def wait_painted(driver: webdriver.Chrome, other_than: int | None = None, timeout: float = 20.0) -> int:
  """Waits until an image, other than the one given, is painted; its number."""
  number = wait(driver, lambda: (n := shown(driver)) is not None and n != other_than and (n,), timeout)[0]
  driver.execute_async_script(PAINTED)
  return number


def text(driver: webdriver.Chrome, selector: str) -> str:
  """The visible text of the first element of a CSS selector; empty while it is hidden."""
  return driver.find_element(By.CSS_SELECTOR, selector).text.strip()


def status(driver: webdriver.Chrome) -> str:
  """The page's sentence about the last key."""
  return text(driver, "#status")


def problem(driver: webdriver.Chrome) -> str:
  """The page's sentence about a lost connection or a server's error; empty without one."""
  return text(driver, "#problem-text")


def guess(driver: webdriver.Chrome) -> str | None:
  """The class that the page shows as the model's guess; None without a guess."""
  words = text(driver, "#guess")
  return words.removeprefix("Guess: ").rpartition(", ")[0] if words.startswith("Guess: ") else None


def timings(driver: webdriver.Chrome, *, queued: bool = False) -> list[float]:
  """Milliseconds from each key to the painted image; keys that waited for another one only if `queued`."""
  return [row["ms"] for row in driver.execute_script("return window.alJaxTimings") if queued or not row["queued"]]


def offline(driver: webdriver.Chrome, *, lost: bool) -> None:
  """Cuts the browser's connection to every server, or restores it."""
  driver.execute_cdp_cmd("Network.enable", {})
  conditions = {"offline": lost, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
  driver.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)


def complaints(driver: webdriver.Chrome) -> list[str]:
  """Messages of severity SEVERE in the browser's console, such as what the Content-Security-Policy refused."""
  return [row["message"] for row in driver.get_log("browser") if row["level"] == "SEVERE"]


def screenshot(driver: webdriver.Chrome, path: Path) -> None:
  """A PNG of what the window shows."""
  path.write_bytes(driver.get_screenshot_as_png())
