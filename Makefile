# Everything a fresh machine needs is done by the targets themselves; see README.md.
.PHONY: setup run test lint lock bench

# Some containers forbid Python to keep compiled modules; every import of TensorFlow would then take ten seconds longer.
export PYTHONDONTWRITEBYTECODE :=

parlance := .venv/bin/parlance
python := .venv/bin/python

setup:
	@bash requirements/install.sh

run: setup
	@$(parlance) run

test: setup lint
	@$(python) -m pytest $(or $(ARGS),tests --numprocesses 2 --dist loadgroup --no-loadscope-reorder)

lint: setup
	@$(python) -m ruff check .
	@$(python) -m ruff format --check --quiet .
	@$(python) -m mypy --no-error-summary

# Two packages apply to some Pythons in different versions; one universal lock holds all three Pythons.
lock: setup
	@.venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --all-extras \
		$(if $(UPGRADE),--upgrade) setup.py -o requirements/lock.txt

bench: setup
	@$(python) -m benchmarks.$(or $(AREA),suite) $(if $(ROWS),--rows $(ROWS)) $(ARGS)
