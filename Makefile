# `make demo` and `make test` need nothing but a Python: the plain commands are in README.md.
PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
DEMO ?= -p train_steps 120
WORKERS ?= 2

.PHONY: demo explore test test-slow test-synth test-explore readme docs export store clean hooks

$(VENV)/installed: settings.ini setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -U pip
	$(BIN)/pip install -q -e '.[dev]'
	touch $@

demo: $(VENV)/installed  ## faces inverted, expressions recognised: outputs/demo/
	mkdir -p outputs/demo
	$(BIN)/papermill nbs/45_demo.ipynb outputs/demo/demo.ipynb $(DEMO)
	$(BIN)/jupyter nbconvert --to html outputs/demo/demo.ipynb

explore: $(VENV)/installed  ## the explorer as a page at http://127.0.0.1:8866, until Ctrl-C
	$(BIN)/pip install -q -e '.[app]'
	$(BIN)/python -m ifer.explore

test: $(VENV)/installed  ## every notebook, but for the slow, cuda and synth cells
	OMP_NUM_THREADS=1 PATH=$(BIN):$$PATH nbdev_test --n_workers $(WORKERS) --do_print --timing

test-slow: $(VENV)/installed
	PATH=$(BIN):$$PATH nbdev_test --flags slow --n_workers 1 --do_print --timing

test-synth: $(VENV)/installed
	$(BIN)/pip install -q -e '.[synth]'
	OMP_NUM_THREADS=1 PATH=$(BIN):$$PATH nbdev_test --flags synth --path nbs --file_glob '02*.ipynb' --n_workers 1 --do_print

test-explore: $(VENV)/installed  ## the explorer in a headless Chromium; needs chromium and chromedriver
	$(BIN)/pip install -q -e '.[app]'
	PATH=$(BIN):$$PATH nbdev_test --path nbs/44_explore.ipynb --flags browser --n_workers 0 --do_print

export: $(VENV)/installed  ## nbs/ -> ifer/
	PATH=$(BIN):$$PATH; nbdev_export && nbdev_clean

store: $(VENV)/installed  ## make store NB='12 13': run notebooks in place, keep the outputs that a reader needs
	$(BIN)/python docs/store.py $(NB)

readme: $(VENV)/installed  ## nbs/index.ipynb -> README.md
	$(BIN)/jupyter nbconvert --to markdown --TagRemovePreprocessor.enabled=True --TagRemovePreprocessor.remove_cell_tags hide \
		--output-dir . --output README nbs/index.ipynb
	sed -i.bak 's#(\.\./#(#g' README.md && rm README.md.bak

docs: $(VENV)/installed  ## the site: every notebook, the API reference, a search that works offline: outputs/docs/site/index.html
	$(BIN)/pip install -q -e '.[docs]'
	$(BIN)/python docs/pages.py outputs/docs
	cd outputs/docs && $(BIN)/zensical build --clean --strict

hooks: $(VENV)/installed  ## git: clean notebooks on commit, mend merges
	PATH=$(BIN):$$PATH nbdev_install_hooks

clean:  ## remove what runs left, and the environment
	rm -rf $(VENV) build *.egg-info outputs/docs outputs/demo
