"""The notebooks: what each begins with, how they run headless, and how they become offline pages."""

from landscape.notebooks.page import export_html
from landscape.notebooks.parameters import Parameter, notebook_parameters
from landscape.notebooks.places import bundled_folder
from landscape.notebooks.profile import PROFILES, Profile, find_profile
from landscape.notebooks.run import NotebookResult, find_notebook, list_notebooks, run_notebook
from landscape.notebooks.suite import Suite, begin

__all__ = [
    "PROFILES",
    "NotebookResult",
    "Parameter",
    "Profile",
    "Suite",
    "begin",
    "bundled_folder",
    "export_html",
    "find_notebook",
    "find_profile",
    "list_notebooks",
    "notebook_parameters",
    "run_notebook",
]
