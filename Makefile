# make demo   deblur a photo with the shipped prior        make test   run the tests
# make demo-3d   two snapshots without poses become a mesh
# Needs Python 3.11 or newer with venv, and the network for the first run. Another interpreter: make demo PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := out/demo
DEMO_3D := out/demo-3d

.PHONY: help demo demo-3d test lint clean

help:
	@echo "make demo     deblur a photo with the shipped prior; pictures go to $(DEMO)"
	@echo "make demo-3d  from two snapshots of an object to its cameras, novel views and a mesh, in $(DEMO_3D)"
	@echo "make test     run the tests"
	@echo "make lint     ruff and mypy"
	@echo "make clean    remove $(VENV) and out/"

demo: $(VENV)/package.stamp
	@$(BIN)/python examples/make_blurred_photo.py $(DEMO)
	@$(BIN)/blindinv deblur $(DEMO)/shaken.jpg -o $(DEMO) --kernel-size 31 --truth $(DEMO)/sharp.png --true-kernel $(DEMO)/kernel.npy
	@echo
	@echo "before          $(DEMO)/shaken.jpg"
	@echo "after           $(DEMO)/shaken/image.png"
	@echo "kernel          $(DEMO)/shaken/kernel.png"
	@echo "side by side    $(DEMO)/shaken/comparison.png"
	@echo "all figures     $(DEMO)/shaken/report.json"
	@echo "the truth       $(DEMO)/sharp.png, $(DEMO)/kernel.npy"

# The pictures were made by examples/make_object_pictures.py; no network was trained on this object.
demo-3d: $(VENV)/package.stamp
	@$(BIN)/blindinv mesh examples/object-one.png examples/object-two.png -o $(DEMO_3D)
	@echo
	@echo "pictures        examples/object-one.png, examples/object-two.png"
	@echo "cameras         $(DEMO_3D)/poses.json"
	@echo "novel views     $(DEMO_3D)/views.png"
	@echo "turntable       $(DEMO_3D)/turntable.gif"
	@echo "mesh            $(DEMO_3D)/object.glb"
	@echo "in a browser    $(DEMO_3D)/viewer.html"
	@echo "all figures     $(DEMO_3D)/report.json"
	@echo "the truth       first camera 20 degrees up; second camera 70 around and 15 down from it"

test: $(VENV)/dev.stamp
	@$(BIN)/python -m pytest

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The package is installed in editable mode: source changes need no new installation, only changes of pyproject.toml do.
$(VENV)/package.stamp: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "blindinv needs Python 3.11 or newer; say which: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/package.stamp
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) out
