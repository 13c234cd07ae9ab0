"""Notebooks without a person: run headless with checked parameters, and written as one offline page."""

from landscape.notebooks.page import export_html
from landscape.notebooks.parameters import Parameter, notebook_parameters
from landscape.notebooks.run import NotebookResult, bundled_folder, find_notebook, list_notebooks, run_notebook

__all__ = [
    "NotebookResult",
    "Parameter",
    "bundled_folder",
    "export_html",
    "find_notebook",
    "list_notebooks",
    "notebook_parameters",
    "run_notebook",
]
