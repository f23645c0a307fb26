# Two commands for everybody: `make run` serves a working system, `make test` runs the tests.
# The others are for who works on the project; `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DATA ?=
ID ?=

.DEFAULT_GOAL := help
.PHONY: help run test test-long lint check fix benchmark screenshots clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: $(VENV)/installed $(VENV)/static ## Set everything up and serve (DATA=customers.csv ID=column for your own)
	@$(BIN)/python -m segmentation_project.env_file
	@$(BIN)/python manage.py bootstrap --check-port $(if $(DATA),--data "$(DATA)") $(if $(ID),--id "$(ID)") --skip-checks
	@exec $(BIN)/python manage.py serve --skip-checks

test: $(VENV)/installed ## Run the tests; needs no service
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n auto

test-long: $(VENV)/installed ## Every real table as it is, drift by chance, killed workers: minutes more
	RETRAININGS=1 SYSTEM_DATABASES=all SYSTEM_TABLES=all DRIFT_DRAWS=all SYSTEM_KILLS=2 SYSTEM_AUDIT_KILLS=3 \
		$(BIN)/python -m pytest -n auto --dist load tests/system \
		tests/test_retraining.py \
		tests/test_journey.py::test_a_real_table_is_imported_trained_and_served \
		tests/ml/test_clusterers.py::test_training_customers_keep_their_core_and_noise_labels_on_every_benchmark_set \
		tests/ml/test_drift.py::test_false_alarms_keep_the_promised_level_on_simulated_customers \
		tests/ml/test_drift.py::test_false_alarms_keep_the_promised_level_on_rare_flags_and_open_lists

lint: $(VENV)/installed-dev ## Format, lint, types, missing migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py makemigrations --check --dry-run --skip-checks

check: lint test ## Everything before a commit

fix: $(VENV)/installed-dev ## Repair format and lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmark: $(VENV)/installed-dev ## Measure predictions beside other services, the choices of a training, drift alarms
	$(BIN)/python -m benchmarks.predict
	$(BIN)/python -m benchmarks.clustering --quick
	$(BIN)/python -m benchmarks.drift --quick

screenshots: $(VENV)/installed-dev ## Take pictures of every page and the best ones for docs/ (DATA and ID as for run)
	$(BIN)/python -m tests.browser.screenshots $(if $(DATA),--data "$(DATA)") $(if $(ID),--id "$(ID)")

clean: ## Remove the virtual environment and the caches; data, models and .env stay
	rm -rf $(VENV) staticfiles screenshots .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $(PYTHON) is older; try make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.txt | $(VENV)/bin/python
	@echo "Installing the pinned requirements (about a minute the first time)"
	@if [ -t 1 ]; then $(PIP) install -r requirements.txt; \
	else $(PIP) install --quiet -r requirements.txt; fi
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt requirements.txt | $(VENV)/bin/python
	@$(PIP) install --quiet -r requirements.txt -r requirements-dev.txt
	@touch $@ $(VENV)/installed

$(VENV)/static: $(VENV)/installed $(wildcard segmentation_project/static/segmentation/*)
	@echo "Collecting the pages' assets"
	@$(BIN)/python -m segmentation_project.env_file
	@$(BIN)/python manage.py collectstatic --noinput --clear --verbosity 0 --skip-checks
	@touch $@
