"""The sizes of all networks as a markdown table: `python -m study.models`."""

from study.models.registry import MODELS
from study.models.sizes import markdown

if __name__ == "__main__":
    print(markdown(MODELS.values()))
